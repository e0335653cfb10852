-- each build builds the whole history
select patient_id from {{ ref('stg_patients') }}
