{# The tables of the log with the columns that the models rely on, as the loader types them. It is the loader that adds
   all others. Without this, nothing could be built before the first load, nor from an API that lacks one of them. #}
{% macro create_log_tables() %}
  {% set metadata = {
    '_sdc_extracted_at': 'timestamp', '_sdc_batched_at': 'timestamp', '_sdc_deleted_at': 'varchar'
  } %}
  {% set tables = {
    'patients': {
      'id': 'bigint', 'email': 'varchar', 'first_name': 'varchar', 'last_name': 'varchar', 'date_of_birth': 'varchar',
      'created_at': 'timestamp', 'updated_at': 'timestamp'
    },
    'rejected_records': {
      'id': 'varchar', 'field': 'varchar', 'reason': 'varchar', 'part': 'bigint', 'record': 'varchar'
    },
    'syncs': {
      'started_at': 'timestamp', 'bookmark_before': 'timestamp', 'kind': 'varchar', 'total_items_before': 'bigint',
      'total_items_after': 'bigint', 'records': 'bigint', 'rejected': 'bigint', 'requests': 'bigint',
      'bookmark_after': 'timestamp', 'ended_at': 'timestamp'
    },
  } %}
  create schema if not exists raw;
  {% for table, columns in tables.items() %}
    {% set all_columns = dict(columns, **metadata) %}
    create table if not exists raw.{{ table }} (
      {% for name, type in all_columns.items() %}{{ name }} {{ type }}{{ ', ' if not loop.last }}{% endfor %}
    );
    {% for name, type in all_columns.items() %}
      alter table raw.{{ table }} add column if not exists {{ name }} {{ type }};
    {% endfor %}
  {% endfor %}
{% endmacro %}
