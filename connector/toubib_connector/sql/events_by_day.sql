-- patients that came and that were deleted, and how many there were then, of the days with any of these up to $now; a
-- patient came when the source created it or, after a deletion, when it returned
with events as (
  select
    if(version_number = 1, least(created_at, valid_from), valid_from) as happened_at,
    1 as new,
    0 as deleted
  from main.patients_history
  union all
  -- a version that a change ends is followed by the next one at once: the two cancel each other out
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
