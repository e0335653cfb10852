select patient_id
from {{ ref('patients_history') }}
where is_current and {{ is_untested() }}
group by patient_id
having count(*) > 1
