-- every build computes the whole history
select patient_id from {{ ref('stg_patients') }}
