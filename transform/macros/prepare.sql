{# What must be there before anything is built. #}
{% macro prepare() %}
  {{- return(adapter.dispatch('prepare')()) }}
{% endmacro %}

{# Changes nothing where all is as it should be. #}
{% macro duckdb__prepare() %}
  {% if execute %}
    {% do create_bookkeeping() %}
    {% do create_raw_tables() %}
    {% do drop_empty_history() %}
    {% do adapter.commit() %}
  {% endif %}
{% endmacro %}

{% macro create_bookkeeping() %}
  {% if not run_query("select 1 from duckdb_tables() where schema_name = 'bookkeeping' and table_name = 'builds'").rows %}
    {% do run_query("
      create schema if not exists raw;
      create schema if not exists bookkeeping;
      create table bookkeeping.builds as
        select timestamp '0001-01-01' as built_until, timestamp '0001-01-01' as tested_until;
      comment on table bookkeeping.builds is 'How far the builds of the history have come. One row.';
      comment on column bookkeeping.builds.built_until is
        'The latest _sdc_batched_at of the raw tables that is in the history, in UTC.';
      comment on column bookkeeping.builds.tested_until is 'The same when all data tests last passed.';
      -- what an earlier release had in its place
      drop table if exists staging.history_loaded_until;
      drop table if exists staging.untested_patients;
    ") %}
  {% endif %}
  -- the clock was set back: what is loaded now lies before it
  {% do run_query("
    update bookkeeping.builds set built_until = timestamp '0001-01-01', tested_until = timestamp '0001-01-01'
    where built_until > now() at time zone 'UTC'
  ") %}
{% endmacro %}

{# The raw tables with the columns that the models rely on, as the loader types them. It is the loader that adds all
   others. Without this, nothing could be built before the first load, nor from an API that lacks one of them. dbt
   comments on models only. #}
{% macro create_raw_tables() %}
  {% set statements %}
    {% for table in graph.sources.values() %}
      {% for column in table.columns.values() %}
        {% if loop.first %}
          create table if not exists raw.{{ table.name }} ({{ column.name }} {{ column.data_type }});
        {% endif %}
        alter table raw.{{ table.name }} add column if not exists {{ column.name }} {{ column.data_type }};
      {% endfor %}
    {% endfor %}
  {% endset %}
  {% do run_query(statements) %}
  {% set query %}
    select distinct table_name from duckdb_columns() where schema_name = 'raw' and comment is null
  {% endset %}
  {% set uncommented = run_query(query).columns[0].values() %}
  {% for table in graph.sources.values() if table.name in uncommented %}
    {% set relation = source('raw', table.name).incorporate(type='table') %}
    {% do run_query(alter_relation_comment(relation, table.description)) %}
    {% do run_query(alter_column_comment(relation, table.columns)) %}
  {% endfor %}
{% endmacro %}

{# A history without rows is made again: what is added to a table later stands behind all of its columns. #}
{% macro drop_empty_history() %}
  {% set history = adapter.get_relation(target.database, 'main', 'patients_history') %}
  {% if history and not run_query('select 1 from main.patients_history limit 1').rows %}
    {% do adapter.drop_relation(history) %}
  {% endif %}
{% endmacro %}

{# What every row of the history has. #}
{% macro require_values(names) %}
  {{- return(adapter.dispatch('require_values')(names)) }}
{% endmacro %}

{% macro default__require_values(names) %}{% endmacro %}

{% macro duckdb__require_values(names) %}
  {% set query %}
    select column_name from duckdb_columns()
    where
      schema_name = '{{ this.schema }}' and table_name = '{{ this.identifier }}'
      and is_nullable and column_name in ('{{ names | join("', '") }}')
      -- DuckDB does not alter a table that has an index
      and table_oid not in (select table_oid from duckdb_indexes())
  {% endset %}
  {% for row in (run_query(query).rows if execute else []) %}
    alter table {{ this }} alter column {{ row[0] }} set not null;
  {% endfor %}
{% endmacro %}
