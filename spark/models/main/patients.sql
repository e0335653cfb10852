select * except (patient_version_id, version_number, valid_from, valid_to, is_current, ended_by, sync_started_at)
from {{ ref('patients_history') }}
where is_current
