-- all of raw, not only what was built last; it reads three columns
select distinct observations.patient_id
from {{ ref('stg_patients') }} as observations
left join {{ ref('patients_history') }} as history on observations.patient_id = history.patient_id
where
  (observations._sdc_deleted_at is null and history.patient_id is null)
  -- no build would see it
  or observations._sdc_batched_at is null
