-- how a patient looks now, or then: set variable patient_id = 42; set variable instant = '2026-01-31 12:00';
with patient as (
  select columns(*)::varchar
  from main.patients_as_of(coalesce(getvariable('instant')::varchar, now()::varchar))
  where patient_id = coalesce(getvariable('patient_id'), (select min(patients.patient_id) from main.patients))
)

select
  field,
  value
from patient unpivot include nulls (value for field in (columns(*)));
