{# Raw is a folder of JSON Lines, to which each run adds a file for each stream. External tables describe these files: the
   columns that ../transform declares, and all others as text. #}
{% macro prepare() %}
  {% if execute %}
    {% set folder = env_var('DBT_SPARK_RAW') %}
    {% do run_query('create schema if not exists raw') %}
    {% for table in graph.sources.values() %}
      {% set types = {} %}
      {% for column in table.columns.values() %}
        {% do types.update({column.name: column.data_type | replace('varchar', 'string') | replace('timestamptz', 'timestamp')}) %}
      {% endfor %}
      {% set keys %}
        select distinct explode(json_object_keys(value)) from text.`{{ folder }}`
        where _metadata.file_name like '{{ table.name | replace("_", "\\\\_") }}-%.jsonl'
      {% endset %}
      {% for key in run_query(keys).columns[0].values() | sort if key not in types %}
        {% do types.update({key: 'string'}) %}
      {% endfor %}
      {% do run_query('drop table if exists raw.' ~ table.name) %}
      {% do run_query("
        create table raw." ~ table.name ~ " (" ~ columns(types, '`{0}` {1}') ~ ") using json
        options (path '" ~ folder ~ "', pathGlobFilter '" ~ table.name ~ "-*.jsonl')
      ") %}
    {% endfor %}
  {% endif %}
{% endmacro %}

{# The columns of a list or a dictionary, comma-separated. In the format, {0} is the name and {1} a dictionary's value. #}
{% macro columns(names, format='`{0}`') -%}
  {% for name in names %}{{ format.format(name, names[name] if names is mapping) }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{# The names of a relation's columns, without some. #}
{% macro names_in(relation, without=[]) %}
  {{ return(adapter.get_columns_in_relation(relation) | map(attribute='name') | reject('in', without) | list if execute else []) }}
{% endmacro %}

{# The columns that patients_history adds to the source's. #}
{% macro own_columns() %}
  {{ return([
    'patient_version_id', 'patient_id', 'version_number', 'valid_from', 'valid_to', 'is_current', 'ended_by',
    'observed_at', 'sync_started_at'
  ]) }}
{% endmacro %}

{# A schema is named as configured: `staging`, not `main_staging`. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name or target.schema }}
{%- endmacro %}

{# As the materialization in dbt-duckdb. #}
{% materialization table_function, adapter='spark' %}
  {% call statement('main') %}
    create or replace function {{ this }}({{ config.require('parameters') | join(', ') }})
    returns table
    comment '{{ model.description | replace("'", "\\'") }}'
    return {{ sql }}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}
