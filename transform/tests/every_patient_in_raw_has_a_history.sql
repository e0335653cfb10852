select observations.patient_id
from {{ ref('stg_patients') }} as observations
where
  observations.patient_id in (select untested.patient_id from {{ ref('untested_patients') }} as untested)
  and observations._sdc_deleted_at is null
  and not exists (
    select 1 from {{ ref('patients_history') }} as history
    where history.patient_id = observations.patient_id
  )
