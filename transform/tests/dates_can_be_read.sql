-- depends_on: {{ ref('patients_history') }}
-- a warning of what the history has as null, since raw holds text there that is not a date
{{ config(severity='warn') }}

with observations as (
  select
    {% for name in ['date_of_birth', 'created_at', 'updated_at'] %}
      {{ name }} is not null and {{ safe_cast(name, var('types')[name]) }} is null as is_unreadable_{{ name }},
    {% endfor %}
    id as patient_id
  from {{ source('raw', 'patients') }}
)

select * from observations
where {{ is_untested() }} and (is_unreadable_date_of_birth or is_unreadable_created_at or is_unreadable_updated_at)
