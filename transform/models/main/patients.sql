select * exclude ({{ version_columns() }})
from {{ ref('patients_history') }}
where is_current
