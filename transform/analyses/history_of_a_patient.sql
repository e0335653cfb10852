-- the events of the patient with most versions, or of another: set variable patient_id = 42;
with patient as (
  select coalesce(getvariable('patient_id'), max_by(patient_id, version_number)) as patient_id
  from main.patients_history
),

versions as (
  select *, lag(ended_by) over (order by version_number) as ended_by_before
  from main.patients_history
  where patient_id = (select patient.patient_id from patient)
),

events as (
  select
    patient_id,
    version_number,
    valid_from as happened_at,
    if(version_number = 1, 'first version', 'returned') as event
  from versions
  where ended_by_before is distinct from 'change'
  union all
  select patient_id, version_number, valid_to, 'deleted' from versions where ended_by = 'deletion'
  union all by name
  select patient_id, version_number, changed_at as happened_at, 'changed' as event, field, old, new
  from main.patient_changes
  where patient_id = (select patient.patient_id from patient)
)

select
  patient_id as patient,
  version_number as version,
  strftime(happened_at, '%Y-%m-%d %H:%M') as happened_at,
  event,
  field,
  old,
  new
from events
order by version_number, events.happened_at, field;
