-- new, deleted and current patients of each day with events, up to $now; a patient is new when the source created it or,
-- after a deletion, when it returned
with events as (
  select
    if(version_number = 1, least(created_at, valid_from), valid_from) as happened_at,
    1 as new,
    0 as deleted
  from main.patients_history
  union all
  -- a version that ends by a change cancels out with the next version, which begins at the same instant
  select
    valid_to,
    if(ended_by = 'change', -1, 0),
    if(ended_by = 'deletion', 1, 0)
  from main.patients_history
  where not is_current
)

select
  cast(least(happened_at, $now) as date) as day,
  cast(sum(new) as bigint) as new,
  cast(sum(deleted) as bigint) as deleted,
  cast(sum(sum(new) - sum(deleted)) over (order by day) as bigint) as patients
from events
group by day
order by day
