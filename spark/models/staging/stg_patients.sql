-- A column of the source that has a name of patients_history's own is called `source_<name>`.
select
  id as patient_id,
  {% for name in names_in(source('raw', 'patients'), ['id', 'created_at', 'updated_at']) %}
    `{{ name }}` as `{{ 'source_' if name in own_columns() }}{{ name }}`,
  {% endfor %}
  created_at,
  updated_at
from {{ source('raw', 'patients') }}
-- a line that a killed load left half written has none
where id is not null
