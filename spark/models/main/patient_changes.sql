select
  versions.patient_id,
  changes.*,
  versions.valid_from as changed_at,
  versions.version_number
from {{ ref('patients_history') }} as versions
inner join {{ ref('patients_history') }} as previous
  on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
cross join lateral inline(array(
  {{ columns(
    names_in(ref('patients_history'), own_columns() + ['updated_at']),
    "struct('{0}' as field, string(previous.`{0}`) as old, string(versions.`{0}`) as new)"
  ) }}
)) as changes
where previous.ended_by = 'change' and changes.old is distinct from changes.new
