with versions as (
  select
    patient_version_id,
    {{ content(attributes() + ['created_at']) }} as contents,
    lag({{ content(attributes() + ['created_at']) }}) over (
      partition by patient_id order by version_number
    ) as previous_contents,
    lag(ended_by) over (partition by patient_id order by version_number) as previous_ended_by
  from {{ ref('patients_history') }}
  where {{ is_untested() }}
)

select patient_version_id
from versions
where contents is not distinct from previous_contents and previous_ended_by = 'change'
