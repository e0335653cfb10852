-- how patient 42 looked at noon on 31 January 2026, in UTC
select *
from main.patients_as_of('2026-01-31 12:00')
where patient_id = 42;
