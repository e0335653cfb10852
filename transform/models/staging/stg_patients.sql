{% set names = raw_columns('patients') %}

select
  {{ raw_value('id', names) }} as patient_id,
  {% for name, name_in_raw in raw_attributes().items() %}
    {{ raw_value(name_in_raw, names) }} as {{ quoted(name) }},
  {% endfor %}
  {{ raw_value('created_at', names) }} as created_at,
  {{ raw_value('updated_at', names) }} as updated_at,
  {{ raw_value('_sdc_deleted_at', names) }} as _sdc_deleted_at,
  {{ bucket() }}
  _sdc_extracted_at,
  _sdc_batched_at
from {{ source('raw', 'patients') }}
