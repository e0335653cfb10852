-- of each patient: numbered from 1 on, no interval empty or from before the end of the one before, a gap only after a
-- deletion, a change only where something differs, and nothing after the current version
with versions as (
  select
    patient_version_id,
    version_number,
    valid_from,
    valid_to,
    {{ bundle(attributes() + ['created_at']) }} as contents,
    lag({{ bundle(attributes() + ['created_at']) }}) over in_order as contents_before,
    lag(valid_to) over in_order as valid_to_before,
    lag(ended_by) over in_order as ended_by_before,
    row_number() over in_order as expected_number
  from {{ ref('patients_history') }}
  where {{ is_untested() }}
  window in_order as (partition by patient_id order by valid_from, version_number)
)

select
  patient_version_id,
  version_number <> expected_number as is_numbered_wrongly,
  valid_to <= valid_from as is_empty,
  valid_to_before is null or ended_by_before is null as follows_a_current_one,
  valid_from < valid_to_before as begins_early,
  valid_from > valid_to_before as follows_a_gap,
  (contents is not distinct from contents_before) as is_the_same
from versions
where
  version_number <> expected_number
  or valid_to <= valid_from
  or (
    expected_number > 1
    and (
      valid_to_before is null
      or ended_by_before is null
      or valid_from < valid_to_before
      or (ended_by_before = 'change' and valid_from > valid_to_before)
      or (ended_by_before = 'change' and contents is not distinct from contents_before)
    )
  )
