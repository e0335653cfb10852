select
  changed_at as "when, UTC",
  cast(patient_id as varchar) as patient,
  string_agg(field, ', ' order by field) as fields
from main.patient_changes
group by changed_at, patient_id
order by changed_at desc, patient_id
limit 20
