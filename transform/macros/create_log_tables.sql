{# The tables of the log with the columns that the models rely on, as the loader types them. It is the loader that adds
   all others. Without this, nothing could be built before the first load, nor from an API that lacks one of them. #}
{% macro create_log_tables() %}
  {{- return(adapter.dispatch('create_log_tables')()) }}
{% endmacro %}

{% macro duckdb__create_log_tables() %}
  create schema if not exists raw;
  {% for table in (graph.sources.values() if execute else []) %}
    create table if not exists raw.{{ table.name }} (
      {% for column in table.columns.values() %}{{ column.name }} {{ column.data_type }}{{ ', ' if not loop.last }}{% endfor %}
    );
    {% for column in table.columns.values() %}
      alter table raw.{{ table.name }} add column if not exists {{ column.name }} {{ column.data_type }};
    {% endfor %}
  {% endfor %}
{% endmacro %}

{# dbt does this for models only. It looks the columns up in a transaction that it would roll back. #}
{% macro comment_log_tables() %}
  {{- return(adapter.dispatch('comment_log_tables')()) }}
{% endmacro %}

{% macro default__comment_log_tables() %}{% endmacro %}

{% macro duckdb__comment_log_tables() %}
  {% for table in (graph.sources.values() if execute else []) %}
    {% set relation = source('raw', table.name).incorporate(type='table') %}
    {{ alter_relation_comment(relation, table.description) }}
    {{ alter_column_comment(relation, table.columns) }}
  {% endfor %}
  {% do adapter.commit() if execute %}
{% endmacro %}
