-- changed values from $since to $now, of the twelve fields that changed most, by day
with by_day as (
  select
    field,
    cast(changed_at as date) as day,
    count(*) as changes
  from main.patient_changes
  where changed_at between $since and $now
  group by all
)

select
  field,
  cast(sum(changes) as bigint) as changes,
  map_from_entries(list((day, changes))) as by_day
from by_day
group by field
order by changes desc, field
limit 12
