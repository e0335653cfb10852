-- what changed in the last seven days, newest first
select
  strftime(changed_at, '%Y-%m-%d %H:%M') as changed_at,
  patient_id as patient,
  field,
  old,
  new
from main.patient_changes
where patient_changes.changed_at > now() - interval 7 days
order by patient_changes.changed_at desc, patient_id, field;
