-- If patients_history itself has a column of that name, a column of the source becomes `source_<name>`.
{% set own = [
  'patient_version_id', 'patient_id', 'version_number', 'valid_from', 'valid_to', 'is_current', 'ended_by',
  'observed_at', 'sync_started_at'
] %}
{% set taken = raw_columns() | map(attribute='name') | select('in', own) | list %}

select
  {{ values_of_all_types('id') }} as patient_id,
  columns(lambda c: not regexp_full_match(c, '(id|created_at|updated_at)(_\d{8}_\d{4}.*)?') and c not in {{ own }}),
  {% for name in taken %}
    {{ name }} as source_{{ name }},
  {% endfor %}
  {{ values_of_all_types('created_at', 'timestamptz') }} as created_at,
  {{ values_of_all_types('updated_at', 'timestamptz') }} as updated_at
from {{ source('raw', 'patients') }}
