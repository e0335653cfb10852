-- a warning with the ids of records that could not be loaded by the last run; raw.rejected_records has them whole
{{ config(severity='warn') }}

select distinct
  rejected.id,
  rejected.field,
  rejected.reason
from {{ source('raw', 'rejected_records') }} as rejected
where rejected._sdc_extracted_at >= (select max(last_sync.started_at) from {{ ref('syncs') }} as last_sync)
