-- the few patients without a history come first, so that raw is read for them only
with missing as (
  select patient_id
  from {{ ref('untested_patients') }} anti join {{ ref('patients_history') }} using (patient_id)
)

select patient_id
from {{ ref('stg_patients') }} semi join missing using (patient_id)
where _sdc_deleted_at is null
