-- depends_on: {{ ref('patients_history') }}
-- a tap without a state reads everything but finds no deletions: right in a first run only; a full refresh repairs it
with syncs as (
  select
    *,
    row_number() over (order by _sdc_batched_at) as sync_number,
    max(case when kind = 'full' then _sdc_batched_at end) over () as last_full
  from {{ source('raw', 'syncs') }}
)

select started_at
from syncs
where
  case
    when kind = 'first_load' and sync_number > 1 and _sdc_batched_at > coalesce(last_full, '0001-01-01')
      then error(concat(
        'The run of ', started_at at time zone 'UTC', ' UTC had no state, so it found no deletions: ',
        'run `make full-refresh`'
      ))
  end is not null
