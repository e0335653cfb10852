-- whatever the history lacks of the log, not only what was built last; it reads two columns
select distinct observed.patient_id
from {{ ref('stg_patients') }} as observed
left join {{ ref('patients_history') }} as history on observed.patient_id = history.patient_id
where observed.deleted_at is null and history.patient_id is null
