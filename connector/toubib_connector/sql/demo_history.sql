-- a changed and a deleted patient, only of the bundled API, since values are shown
select
  patient_id as patient,
  version_number as "no.",
  last_name as "last name",
  total_visits as visits,
  strftime(valid_from, '%Y-%m-%d %H:%M') as "valid from",
  coalesce(strftime(valid_to, '%Y-%m-%d %H:%M'), '') as "valid to",
  coalesce(ended_by, '') as "ended by"
from main.patients_history
where
  (select arg_max(is_bundled_api, started_at) from raw.syncs)
  and patient_id in (
    select max(patient_id) from main.patients_history where ended_by is not null group by ended_by
  )
order by bool_or(ended_by = 'deletion') over (partition by patient_id), patient_id, version_number
