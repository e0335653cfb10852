-- who was created, deleted or came back in the last seven days, newest first
with events as (
  select
    created_at as happened_at,
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
    'came back' as event,
    versions.patient_id
  from main.patients_history as versions
  inner join main.patients_history as previous
    on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
  where previous.ended_by = 'deletion'
)

select *
from events
where happened_at > now() at time zone 'UTC' - interval 7 days
order by happened_at desc, patient_id;
