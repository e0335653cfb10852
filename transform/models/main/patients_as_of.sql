-- dbt persists the descriptions of tables and views only, so the hook writes the comment of the macro
{{ config(
  materialized='table_function',
  parameters=['"at"'],
  persist_docs={},
  post_hook='comment on macro table main.patients_as_of is {{ duckdb_escape_comment(model.description) }}'
) }}
{% set instant %}
  case
    -- an instant with a zone
    when regexp_matches(cast("at" as varchar), ':.*[A-Za-z+-]') then try_cast("at" as timestamptz)
    else try_cast("at" as timestamp) at time zone 'UTC'
  end
{% endset %}
select * exclude ({{ version_columns() }})
from {{ ref('patients_history') }}
where
  valid_from <= coalesce({{ instant }}, error('patients_as_of needs an instant, such as 2026-01-31 12:00'))
  and (valid_to > {{ instant }} or is_current)
