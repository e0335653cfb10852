-- The versions of a patient are numbered from 1, and no interval is empty or overlaps. A gap follows only a deletion, a
-- change has different content, and the current version is the last.

with untested as (
  select
    *,
    struct_pack(*columns(* exclude (
      patient_version_id, patient_id, version_number, valid_from, valid_to, is_current, ended_by, observed_at,
      sync_started_at, updated_at
    ))) as content
  from {{ ref('patients_history') }}
  where patient_id in (select patient_id from {{ ref('untested_patients') }})
),

versions as (
  select
    patient_version_id,
    version_number,
    valid_from,
    valid_to,
    is_current,
    ended_by,
    content,
    lag(content) over in_order as content_before,
    lag(valid_to) over in_order as valid_to_before,
    lag(ended_by) over in_order as ended_by_before,
    row_number() over in_order as expected_number
  from untested
  window in_order as (partition by patient_id order by valid_from, version_number)
),

checked as (
  select
    patient_version_id,
    version_number <> expected_number as is_numbered_wrongly,
    valid_to <= valid_from as is_empty,
    (is_current is distinct from (valid_to is null)) as is_current_wrongly,
    case
      when valid_to is null then ended_by is not null
      else ended_by is null or ended_by not in ('change', 'deletion')
    end as is_ended_wrongly,
    expected_number > 1 and valid_to_before is null as follows_the_current_one,
    valid_from < valid_to_before as starts_early,
    ended_by_before = 'change' and valid_from > valid_to_before as follows_a_gap,
    (ended_by_before = 'change' and content is not distinct from content_before) as is_the_same
  from versions
)

select * from checked
where
  is_numbered_wrongly or is_empty or is_current_wrongly or is_ended_wrongly
  or follows_the_current_one or starts_early or follows_a_gap or is_the_same
