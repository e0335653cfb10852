-- No interval is empty or overlaps. Every version but the first follows one that has ended: after a change, at once and
-- with different content.
with versions as not materialized (
  select
    *,
    struct_pack(*columns(* exclude ({{ version_columns() }}, patient_id, observed_at, updated_at))) as content
  from {{ ref('patients_history') }}
  where patient_id in (select patient_id from {{ ref('untested_patients') }})
)

select versions.patient_version_id
from versions
left join versions as previous
  on
    versions.patient_id = previous.patient_id
    and versions.version_number - 1 = previous.version_number
    and not previous.is_current
where
  versions.valid_to <= versions.valid_from
  or versions.is_current is distinct from (versions.valid_to is null)
  or (versions.ended_by is null) <> versions.is_current
  or versions.ended_by not in ('change', 'deletion')
  or (versions.version_number <> 1 and coalesce(versions.valid_from < previous.valid_to, true))
  or (
    previous.ended_by = 'change'
    and (versions.valid_from > previous.valid_to or versions.content is not distinct from previous.content)
  )
