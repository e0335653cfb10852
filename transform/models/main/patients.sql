{{ config(materialized='view') }}

select
  patient_id,
  {%- for name in attributes() %}
  {{ adapter.quote(name) }},
  {%- endfor %}
  created_at,
  updated_at,
  observed_at
from {{ ref('patients_history') }}
where is_current
