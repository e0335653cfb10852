-- no interval is empty, none overlaps the next, and a gap is an absence that a deletion began
with versions as (
  select
    patient_version_id,
    valid_from,
    valid_to,
    ended_by,
    lead(valid_from) over (partition by patient_id order by version_number) as next_from
  from {{ ref('patients_history') }}
  where {{ is_untested() }}
)

select *
from versions
where
  valid_to <= valid_from
  or next_from < coalesce(valid_to, timestamp '9999-12-31')
  or (next_from > valid_to and ended_by = 'change')
