-- the id of each record, if it is a number, and the field, never a value
with last_run as (
  select max(started_at) as started_at from raw.syncs
),

rejected as (
  select distinct coalesce(try_cast(id as hugeint)::varchar, 'without id') || coalesce(' (' || field || ')', '') as name
  from raw.rejected_records
  where _sdc_sync_started_at = (select started_at from last_run)
)

select
  name,
  count(*) over () - 20 as others
from rejected
order by name
limit 20
