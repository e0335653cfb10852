select patient_id
from {{ ref('patients_history') }}
where is_current
group by patient_id
having count(*) > 1
