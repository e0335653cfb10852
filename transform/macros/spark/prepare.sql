{# What stands in ../prepare.sql, for Apache Spark. #}

{# Raw is a folder of JSON Lines. That of the patients is copied into buckets, so that those of few can be found. #}
{% macro spark__prepare() %}
  {% if execute %}
    {% do run_query('create schema if not exists raw') %}
    {% do run_query('create schema if not exists bookkeeping') %}
    {% do run_query("
      create table if not exists bookkeeping.builds using parquet
      as select timestamp '0001-01-01' as built_until, timestamp '0001-01-01' as tested_until
    ") %}
    {% do run_query('create table if not exists bookkeeping.touched_buckets (bucket int) using parquet') %}
    {% set types = {} %}
    {% for table in graph.sources.values() %}
      {% do types.update({table.name: {}}) %}
      {% for column in table.columns.values() if column.name != '_sdc_batched_at' %}
        {% do types[table.name].update({column.name: column.data_type | replace('varchar', 'string')}) %}
      {% endfor %}
    {% endfor %}
    {% for name in types if name != 'patients' %}
      {% do run_query('create or replace view raw.' ~ name ~ ' as ' ~ parsed(lines(name), types[name])) %}
    {% endfor %}
    {% do copy_patients(types.patients) %}
  {% endif %}
{% endmacro %}

{# Copies the new lines of the patients; what is known of others in their buckets stays. #}
{% macro copy_patients(types) %}
  {% if flags.FULL_REFRESH or not run_query("show tables in raw like 'patients'").rows %}
    {% do set_until('0001-01-01', '0001-01-01') %}
    {% do run_query('drop table if exists raw.patients') %}
  {% endif %}
  {% do run_query('
    create table if not exists raw.patients (' ~ definitions(types) ~ ', _sdc_batched_at timestamp, patient_bucket int)
    using parquet partitioned by (patient_bucket)
  ') %}

  {% set since = until('built_until') %}
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

  {% do run_query('
    insert overwrite bookkeeping.touched_buckets
    select ' ~ bucket_of('id') ~ ' from (' ~ parsed(new, {'id': types.id}) ~ ')
    union
    select patient_bucket from raw.patients where _sdc_extracted_at >= (
      select min(started_at) from raw.syncs where _sdc_batched_at > timestamp \'' ~ since ~ '\'
    )
  ') %}
  {% do run_query('
    insert overwrite raw.patients by name
    select * from (
      select *, ' ~ bucket_of('id') ~ ' as patient_bucket from (' ~ parsed(new, all_types, keys) ~ ')
      union all
      select ' ~ columns(all_types | list + ['_sdc_batched_at', 'patient_bucket']) ~ ' from raw.patients
      where ' ~ is_touched() ~ ' and _sdc_batched_at <= timestamp \'' ~ since ~ '\'
    ) ' ~ by_bucket()
  ) %}
{% endmacro %}

{% macro definitions(types) -%}
  {% for name, type in types.items() %}{{ quoted(name) }} {{ type }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{# The lines that a stream has in raw: of the files of the runs, and of the one that a history was moved with. What was
   cut off when a load was killed is not a line. #}
{% macro lines(stream, since='0001-01-01') -%}
  {%- set folder = env_var('DBT_SPARK_RAW') %}
  {%- set is_new = "_metadata.file_modification_time > timestamp '" ~ since ~ "'" %}
  select
    value,
    _metadata.file_modification_time as loaded_at
  from text.`{{ folder }}`
  where _metadata.file_name rlike '^{{ stream }}-[^-]*[.]jsonl$' and {{ is_new }} and endswith(value, '}')
  {% if run_query("select path from binaryFile.`" ~ folder ~ "` where path like '%/" ~ stream ~ ".parquet'").rows %}
    union all
    select
      to_json(struct(*), map('timestampNTZFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')) as value,
      _metadata.file_modification_time as loaded_at
    from parquet.`{{ folder }}/{{ stream }}.parquet`
    where {{ is_new }}
  {% endif %}
{%- endmacro %}

{# The columns of lines, which may have other names there. #}
{% macro parsed(lines, types, keys={}) -%}
  {%- set fields = {} %}
  {%- for name, type in types.items() %}{% do fields.update({keys.get(name, name): type}) %}{% endfor %}
  select
    {% for name, type in types.items() %}
      record.{{ quoted(keys.get(name, name)) }} as {{ quoted(name) }},
    {% endfor %}
    loaded_at as _sdc_batched_at
  from (select from_json(value, {{ literal(definitions(fields)) }}) as record, loaded_at from ({{ lines }}))
{%- endmacro %}
