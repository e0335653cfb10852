-- who was created, deleted or returned in the last seven days, newest first
with events as (
  select
    least(created_at, valid_from) as happened_at,
    'created' as event,
    patient_id
  from main.patients_history
  where version_number = 1
  union all
  select
    valid_to as happened_at,
    'deleted' as event,
    patient_id
  from main.patients_history
  where ended_by = 'deletion'
  union all
  select
    versions.valid_from as happened_at,
    'returned' as event,
    versions.patient_id
  from main.patients_history as versions
  inner join main.patients_history as previous
    on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
  where previous.ended_by = 'deletion'
)

select
  strftime(happened_at, '%Y-%m-%d %H:%M') as happened_at,
  event,
  patient_id as patient
from events
where events.happened_at > now() at time zone 'UTC' - interval 7 days
order by events.happened_at desc, patient_id;
