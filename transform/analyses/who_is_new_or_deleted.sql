-- who was created, deleted or returned in the last seven days, newest first
with versions as (
  select *, lag(ended_by) over (partition by patient_id order by version_number) as ended_by_before
  from main.patients_history
),

events as (
  select least(created_at, valid_from) as happened_at, 'created' as event, patient_id
  from versions
  where version_number = 1
  union all
  select valid_to, 'deleted', patient_id from versions where ended_by = 'deletion'
  union all
  select valid_from, 'returned', patient_id from versions where ended_by_before = 'deletion'
)

select
  strftime(happened_at, '%Y-%m-%d %H:%M') as happened_at,
  event,
  patient_id as patient
from events
where events.happened_at > now() - interval 7 days
order by events.happened_at desc, patient_id;
