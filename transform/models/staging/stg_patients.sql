-- If patients_history itself has a column of that name, a column of the source becomes `source_<name>`.
{% set own = version_columns().split(', ') + ['patient_id', 'observed_at'] %}

select
  {{ values_of_all_types('id') }} as patient_id,
  columns(lambda c: not regexp_full_match(c, '(id|created_at|updated_at){{ any_type() }}') and c not in {{ own }}),
  {% for name in raw_columns() | map(attribute='name') | select('in', own) %}
    {{ name }} as source_{{ name }},
  {% endfor %}
  {{ values_of_all_types('created_at', 'timestamptz') }} as created_at,
  {{ values_of_all_types('updated_at', 'timestamptz') }} as updated_at,
  -- last, since patients_history orders by whole rows
  rowid as _sdc_observation_id
from {{ source('raw', 'patients') }}
