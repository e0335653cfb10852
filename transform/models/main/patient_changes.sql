{{ config(materialized='view') }}

{% set fields = attributes() + ['created_at'] %}

-- a version is joined to the one before, rather than found by a window over all, so that few are read for few instants
with pairs as (
  select
    after.patient_id,
    after.version_number,
    after.valid_from
    {%- for name in fields %},
      cast(before.{{ adapter.quote(name) }} as {{ dbt.type_string() }}) as old_{{ loop.index }},
      cast(after.{{ adapter.quote(name) }} as {{ dbt.type_string() }}) as new_{{ loop.index }}
    {%- endfor %}
  from {{ ref('patients_history') }} as after
  inner join {{ ref('patients_history') }} as before
    on after.patient_id = before.patient_id and after.version_number - 1 = before.version_number
  where after.version_number > 1 and before.ended_by = 'change'
)

{% for name in fields %}
  select
    patient_id,
    '{{ name }}' as field,
    old_{{ loop.index }} as old,
    new_{{ loop.index }} as new,
    valid_from as changed_at,
    version_number
  from pairs
  where old_{{ loop.index }} is distinct from new_{{ loop.index }}
  {{ 'union all' if not loop.last }}
{% endfor %}
