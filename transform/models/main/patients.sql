{{ config(materialized='view') }}

select
  patient_id,
  {{ columns(attributes()) }},
  created_at,
  updated_at,
  observed_at
from {{ ref('patients_history') }}
where is_current
