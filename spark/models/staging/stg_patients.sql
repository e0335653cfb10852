-- If patients_history itself has a column of that name, a column of the source becomes `source_<name>`.
select
  id as patient_id,
  {% for name in names_in(source('raw', 'patients'), ['id', 'created_at', 'updated_at']) %}
    `{{ name }}` as `{{ 'source_' if name in own_columns() }}{{ name }}`,
  {% endfor %}
  created_at,
  updated_at
from {{ source('raw', 'patients') }}
-- a killed load can leave an incomplete line, which has no id
where id is not null
