with log as (
  select * from {{ source('raw', 'patients') }}
)

select
  id as patient_id,
  {%- for name in attributes() %}
  {% if name in var('date_columns') -%}
  cast({{ adapter.quote(name) }} as date) as {{ adapter.quote(name) }},
  {%- else -%}
  {{ adapter.quote(name) }},
  {%- endif %}
  {%- endfor %}
  created_at,
  updated_at,
  cast(_sdc_deleted_at as timestamp) as deleted_at,
  _sdc_extracted_at as observed_at,
  _sdc_batched_at as loaded_at
from log
