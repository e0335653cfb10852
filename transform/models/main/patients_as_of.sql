-- dbt writes descriptions into the file for tables and views only
{{ config(
  materialized='table_function',
  parameters=[columns(['at'])],
  persist_docs={},
  post_hook='comment on macro table main.{{ this.identifier }} is {{ duckdb_escape_comment(model.description) }}'
) }}

select
  patient_id,
  {{ columns(attributes()) }},
  created_at,
  updated_at,
  observed_at
from {{ ref('patients_history') }}
-- a keyword since DuckDB 1.3
-- noqa: disable=RF06
where
  valid_from <= {{ utc(columns(['at'])) }}
  and (valid_to > {{ utc(columns(['at'])) }} or is_current)
