with log as (
  select * from {{ source('raw', 'patients') }}
)

select
  id as patient_id,
  {{ typed_columns(attributes() + ['created_at', 'updated_at']) }},
  cast(_sdc_deleted_at as timestamp) as deleted_at,
  _sdc_extracted_at as observed_at,
  {{ bucket() }}
  _sdc_batched_at as loaded_at
from log
