{{ config(materialized='view') }}

{% set names = attributes() + ['created_at'] %}

-- a version is joined to the one before, rather than found by a window over all, so that few are read for few instants
with pairs as (
  select
    after.patient_id,
    after.version_number,
    after.valid_from,
    {% for name in names %}
      cast(before.{{ adapter.quote(name) }} as {{ dbt.type_string() }}) as old_{{ loop.index }},
      cast(after.{{ adapter.quote(name) }} as {{ dbt.type_string() }}) as new_{{ loop.index }}
      {{- ',' if not loop.last }}
    {% endfor %}
  from {{ ref('patients_history') }} as after
  inner join {{ ref('patients_history') }} as before
    on after.patient_id = before.patient_id and after.version_number - 1 = before.version_number
  where after.version_number > 1 and before.ended_by = 'change'
),

fields as (
  {% for name in names %}
    select '{{ name }}' as field
    {{ 'union all' if not loop.last }}
  {% endfor %}
),

compared as (
  select
    pairs.patient_id,
    fields.field,
    case fields.field
      {% for name in names %}
        when '{{ name }}' then pairs.old_{{ loop.index }}
      {% endfor %}
    end as old,
    case fields.field
      {% for name in names %}
        when '{{ name }}' then pairs.new_{{ loop.index }}
      {% endfor %}
    end as new,
    pairs.valid_from as changed_at,
    pairs.version_number
  from pairs
  cross join fields
)

select * from compared
where old is distinct from new
