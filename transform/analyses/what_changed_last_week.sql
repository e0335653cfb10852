-- what changed in the last seven days, newest first
select *
from main.patient_changes
where changed_at > now() at time zone 'UTC' - interval 7 days
order by changed_at desc, patient_id, field;
