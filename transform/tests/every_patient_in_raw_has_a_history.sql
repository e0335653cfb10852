-- all of raw, not only what was built last; it reads three columns
select distinct observations.patient_id
from {{ ref('stg_patients') }} as observations
where
  -- no build would see it
  observations._sdc_batched_at is null
  or (
    observations._sdc_deleted_at is null
    and not exists (
      select 1 from {{ ref('patients_history') }} as history
      where history.patient_id = observations.patient_id
    )
  )
