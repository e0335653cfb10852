{# Overrides dbt-duckdb's macro, which comments on described columns only: other columns of the source take the comment
   that the loader copied from the API. #}
{% macro duckdb__alter_column_comment(relation, column_dict) %}
  {% set query %}
    select column_name, comment from duckdb_columns()
    where schema_name = 'raw' and table_name = 'patients' and comment is not null
  {% endset %}
  {% set in_raw = dict(run_query(query).rows | map('list')) %}
  {% for column in adapter.get_columns_in_relation(relation) %}
    {% set described = column_dict.get(column.name, {}).get('description') %}
    {% set description = described or in_raw.get(column.name, 'As the source has it.') %}
    comment on column {{ relation }}.{{ column.quoted }} is {{ duckdb_escape_comment(description | trim) }};
  {% endfor %}
{% endmacro %}
