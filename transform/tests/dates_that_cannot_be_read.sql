-- depends_on: {{ ref('patients_history') }}
-- a warning of what the history has as null, since the log holds text there that is no date
{{ config(severity='warn') }}

{% for name in var('types') %}
  select
    id,
    '{{ name }}' as field
  from {{ source('raw', 'patients') }}
  where
    {{ columns([name]) }} is not null
    and {{ try_cast(columns([name]), var('types')[name]) }} is null
    and id in (select untested.patient_id from staging.untested_patients as untested)
  {{ 'union all' if not loop.last }}
{% endfor %}
