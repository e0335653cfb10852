-- every version of patient 42
select *
from main.patients_history
where patient_id = 42
order by version_number;
