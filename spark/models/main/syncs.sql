select * except (_sdc_extracted_at, _sdc_batched_at, _sdc_deleted_at)
from {{ source('raw', 'syncs') }}
-- a line that a killed load left half written has none
where started_at is not null
