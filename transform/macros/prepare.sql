{# Creates the raw tables with the columns that the models need: models build before the first load, and from an API that
   lacks one of these columns. The loader adds all other columns. #}
{% macro prepare() %}
  {% if execute and flags.WHICH in ['build', 'run', 'run-operation', 'test'] %}
    {% set statements %}
      create schema if not exists raw;
      create schema if not exists bookkeeping;
      create table if not exists bookkeeping.builds as
        select timestamptz '0001-01-01' as built_until, timestamptz '0001-01-01' as tested_until, '' as digest;
      comment on table bookkeeping.builds is 'One row: the part of raw that is in the history and tested.';
      comment on column bookkeeping.builds.built_until is 'The latest _sdc_batched_at of raw that is in the history.';
      comment on column bookkeeping.builds.tested_until is 'The value of built_until when all data tests last passed.';
      comment on column bookkeeping.builds.digest is 'Digest of transform/ and of the columns of raw.patients then.';
      {% for table in graph.sources.values() %}
        {% for column in table.columns.values() %}
          {% if loop.first %}
            create table if not exists raw.{{ table.name }} ({{ column.name }} {{ column.data_type }});
          {% endif %}
          alter table raw.{{ table.name }} add column if not exists {{ column.name }} {{ column.data_type }};
          comment on column raw.{{ table.name }}.{{ column.name }} is {{ duckdb_escape_comment(column.description | trim) }};
        {% endfor %}
        comment on table raw.{{ table.name }} is {{ duckdb_escape_comment(table.description | trim) }};
      {% endfor %}
    {% endset %}
    {% do run_query(statements) %}
    {% do adapter.commit() %}
  {% endif %}
{% endmacro %}
