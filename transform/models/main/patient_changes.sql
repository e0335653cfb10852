{{ config(materialized='view') }}

{% set names = attributes() + ['created_at'] %}

-- a version is joined to the one before, rather than found by a window over all, so that few are read for few instants
with pairs as (
  select
    {% for name in names %}
      cast(previous.{{ quoted(name) }} as string) as old_{{ loop.index }},
      cast(versions.{{ quoted(name) }} as string) as new_{{ loop.index }},
    {% endfor %}
    versions.patient_id,
    versions.version_number,
    versions.valid_from
  from {{ ref('patients_history') }} as versions
  inner join {{ ref('patients_history') }} as previous
    on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
  where versions.version_number > 1 and previous.ended_by = 'change'
)

select
  patient_id,
  field,
  old,
  new,
  valid_from as changed_at,
  version_number
from pairs
unpivot include nulls (
  (old, new) for field in (
    {% for name in names %}
      (old_{{ loop.index }}, new_{{ loop.index }}) as {{ quoted(name) }}{{ ',' if not loop.last }}
    {% endfor %}
  )
)
where old is distinct from new
