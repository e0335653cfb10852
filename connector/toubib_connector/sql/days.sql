-- The days until $now, at least 14, with their changes and the patients at their end. A patient is new on the day on
-- which the source created it.
with events as (
  select
    if(version_number = 1, least(created_at, valid_from), valid_from) as happened_at,
    if(version_number = 1, 'new', 'another version') as event
  from main.patients_history
  union all
  select
    valid_to,
    if(ended_by = 'change', 'changed', 'deleted')
  from main.patients_history
  where not is_current
),

counts as (
  select
    cast(least(happened_at, $now) as date) as day,
    count(*) filter (where event = 'new') as new,
    count(*) filter (where event = 'changed') as changed,
    count(*) filter (where event = 'deleted') as deleted,
    count(*) filter (where event = 'another version') - changed as returned
  from events
  group by day
),

days as (
  select unnest(generate_series(least(min(day), cast($now as date) - 13), cast($now as date), interval 1 day)) as day
  from counts
)

select
  cast(day as date) as day,
  new,
  changed,
  deleted,
  returned,
  cast(coalesce(sum(new + returned - deleted) over (order by day), 0) as bigint) as patients
from days
left join counts using (day)
order by day
