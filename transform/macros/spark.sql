{# What stands in engine.sql, create_log_tables.sql and loaded_until.sql, for Apache Spark with tables of Parquet files.
   These know no delete, but one part of a table can be written anew: the log and the history are kept in buckets of
   patients. There are no transactions: what is written twice after a build that failed is the same. #}

{# DuckDB orders nulls last within a value, too. #}
{% macro spark__content(names) -%}
  struct(
    {%- for name in names %}{{ columns([name]) }} is null, {{ columns([name]) }}{{ ', ' if not loop.last }}{% endfor -%}
  )
{%- endmacro %}

{% macro spark__add_microseconds(instant, number) -%}
  timestamp_micros(unix_micros({{ instant }}) + {{ number }})
{%- endmacro %}

{# The parameter is an instant already. #}
{% macro spark__utc(instant) -%}
  {{ instant }}
{%- endmacro %}

{# A year alone and words such as `today` would do here. #}
{% macro spark__try_cast(value, type) -%}
  try_cast(case when cast({{ value }} as string) rlike '^ *[0-9]+-[0-9]+-[0-9]+' then {{ value }} end as {{ type }})
{%- endmacro %}

{% macro spark__empty(table) -%}
  truncate table {{ table }}
{%- endmacro %}

{% macro spark__incremental_strategy() %}
  {{- return('insert_overwrite') }}
{% endmacro %}

{% macro spark__bucket() -%}
  patient_bucket,
{%- endmacro %}

{# Else each task would write a file into each bucket. #}
{% macro spark__by_bucket() -%}
  distribute by patient_bucket
{%- endmacro %}

{% macro spark__is_touched() %}
  {%- set buckets = run_query('select bucket from staging.touched_buckets').columns[0].values() if execute else [] %}
  {{- return('patient_bucket in (' ~ buckets | join(', ') ~ ')' if buckets else 'false') }}
{% endmacro %}

{% macro spark__create_loaded_until() %}
  {% do run_query('create schema if not exists staging') %}
  {% do run_query("
    create table if not exists staging.history_loaded_until using parquet as select timestamp '0001-01-01' as loaded_until
  ") %}
  {% do run_query('create table if not exists staging.untested_patients (patient_id bigint) using parquet') %}
  {% do run_query('create table if not exists staging.touched_buckets (bucket int) using parquet') %}
{% endmacro %}

{% macro spark__move_loaded_until() %}
  {% set touched = ref('stg_patients') ~ ' where ' ~ is_touched() %}
  {% set since = loaded_until() %}
  {% do run_query('insert into staging.untested_patients select patient_id from ' ~ (
    this if flags.FULL_REFRESH else touched ~ " and loaded_at > timestamp '" ~ since ~ "'"
  )) %}
  {% do run_query('insert overwrite staging.history_loaded_until
    select coalesce(max(loaded_at), timestamp \'' ~ since ~ '\') from ' ~ touched
  ) %}
{% endmacro %}

{% macro loaded_until() %}
  {% set query = "select coalesce(max(cast(loaded_until as string)), '0001-01-01') from staging.history_loaded_until" %}
  {{- return(run_query(query).rows[0][0] if execute) }}
{% endmacro %}

{# The log is a folder of JSON lines. That of the patients is copied into buckets, so that those of few can be found. #}
{% macro spark__create_log_tables() %}
  {% do run_query('create schema if not exists raw') %}
  {% for table in (graph.sources.values() if execute else []) %}
    {% set types = {} %}
    {% for column in table.columns.values() if column.name != '_sdc_batched_at' %}
      {% do types.update({column.name: column.data_type | replace('varchar', 'string')}) %}
    {% endfor %}
    {% if table.name == 'patients' %}
      {% do copy_patients(types) %}
    {% else %}
      {% do run_query('create or replace view raw.' ~ table.name ~ ' as ' ~ parsed(lines(table.name), types)) %}
    {% endif %}
  {% endfor %}
{% endmacro %}

{# Copies the new lines of the patients; what is known of others in their buckets stays. #}
{% macro copy_patients(types) %}
  {% if flags.FULL_REFRESH or not run_query("show tables in raw like 'patients'").rows %}
    {% do run_query("insert overwrite staging.history_loaded_until select timestamp '0001-01-01'") %}
    {% do run_query('drop table if exists raw.patients') %}
  {% endif %}
  {% do run_query('
    create table if not exists raw.patients (' ~ definitions(types) ~ ', _sdc_batched_at timestamp, patient_bucket int)
    using parquet partitioned by (patient_bucket)
  ') %}

  {% set since = loaded_until() %}
  {% set new = lines('patients', since) %}
  {% set all_types = {} %}
  {% for column in adapter.get_columns_in_relation(source('raw', 'patients')) %}
    {% do all_types.update({column.name: column.dtype}) if column.name not in ['_sdc_batched_at', 'patient_bucket'] %}
  {% endfor %}
  {% set keys = {} %}
  {% set appeared = {} %}
  {% for key in run_query('select distinct explode(json_object_keys(value)) from (' ~ new ~ ')').columns[0].values() %}
    {% do keys.update({key | lower: key}) %}
    {% do appeared.update({key | lower: 'string'}) if key | lower not in all_types and key != '_sdc_batched_at' %}
  {% endfor %}
  {% if appeared %}
    {% do run_query('alter table raw.patients add columns (' ~ definitions(appeared) ~ ')') %}
    {% do all_types.update(appeared) %}
  {% endif %}

  {% set bucket = 'pmod(hash(id), ' ~ var('buckets') ~ ')' %}
  {% do run_query('
    insert overwrite staging.touched_buckets
    select distinct ' ~ bucket ~ ' from (' ~ parsed(new, {'id': types.id}) ~ ')
  ') %}
  {% do run_query('
    insert overwrite raw.patients by name
    select * from (
      select *, ' ~ bucket ~ ' as patient_bucket from (' ~ parsed(new, all_types, keys) ~ ')
      union all
      select ' ~ columns(all_types | list + ['_sdc_batched_at', 'patient_bucket']) ~ ' from raw.patients
      where ' ~ is_touched() ~ ' and _sdc_batched_at <= timestamp \'' ~ since ~ '\'
    ) ' ~ by_bucket()
  ) %}
{% endmacro %}

{% macro definitions(types) -%}
  {% for name, type in types.items() %}{{ adapter.quote(name) }} {{ type }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{# The lines that a stream has in the log: of the files of the runs, and of the one that a history was moved with. What
   was cut off when a load was killed is no line. #}
{% macro lines(stream, since='0001-01-01') -%}
  {%- set log = env_var('DBT_SPARK_LOG') %}
  {%- set is_new = "_metadata.file_modification_time > timestamp '" ~ since ~ "'" %}
  select
    value,
    _metadata.file_modification_time as loaded_at
  from text.`{{ log }}`
  where _metadata.file_name rlike '^{{ stream }}-[^-]*[.]jsonl$' and {{ is_new }} and endswith(value, '}')
  {% if run_query("select path from binaryFile.`" ~ log ~ "` where path like '%/" ~ stream ~ ".parquet'").rows %}
    union all
    select
      to_json(struct(*), map('timestampNTZFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')) as value,
      _metadata.file_modification_time as loaded_at
    from parquet.`{{ log }}/{{ stream }}.parquet`
    where {{ is_new }}
  {% endif %}
{%- endmacro %}

{# The columns of lines, which may have other names there. The empty string is null, as DuckDB's loader has it. #}
{% macro parsed(lines, types, keys={}) -%}
  {%- set fields = {} %}
  {%- for name, type in types.items() %}{% do fields.update({keys.get(name, name): type}) %}{% endfor %}
  select
    {% for name, type in types.items() %}
      {%- set field = 'record.' ~ adapter.quote(keys.get(name, name)) %}
      {{ "nullif(" ~ field ~ ", '')" if type == 'string' else field }} as {{ adapter.quote(name) }},
    {% endfor %}
    loaded_at as _sdc_batched_at
  from (select from_json(value, '{{ definitions(fields) }}') as record, loaded_at from ({{ lines }}))
{%- endmacro %}

{# dbt's adapter for DuckDB has its own. #}
{% materialization table_function, adapter='spark' %}
  {% call statement('main') %}
    create or replace function {{ this }}({{ config.require('parameters') | join(', ') }} timestamp)
    returns table
    comment '{{ model.description | replace("'", "\\'") }}'
    return {{ sql }}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}
