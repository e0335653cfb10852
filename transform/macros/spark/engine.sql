{# What stands in ../engine.sql, for Apache Spark. #}

{# DuckDB orders nulls last within a value, too. #}
{% macro spark__bundle(names, relation='') -%}
  struct(
    {%- for name in names %}
      {{- columns([name], relation) }} is null as _sdc_is_null_{{ loop.index }}, {{ columns([name], relation) }} as {{ quoted(name) }}
      {{- ', ' if not loop.last }}
    {%- endfor -%}
  )
{%- endmacro %}

{% macro spark__skip_nulls(function, value) -%}
  {{ function }}({{ value }}) ignore nulls
{%- endmacro %}

{% macro spark__add_microseconds(instant, number) -%}
  timestamp_micros(unix_micros({{ instant }}) + {{ number }})
{%- endmacro %}

{# The parameter is an instant already. #}
{% macro spark__utc(instant) -%}
  {{ instant }}
{%- endmacro %}

{# A year alone and words such as `today` would do here. #}
{% macro spark__safe_cast(value, type) -%}
  try_cast(case when cast({{ value }} as string) rlike '^ *[0-9]+-[0-9]+-[0-9]+' then {{ value }} end as {{ type }})
{%- endmacro %}

{# Taken over from raw, by which a query is pruned, or computed from the patient's id. #}
{% macro spark__bucket(patient_id) -%}
  {{ bucket_of(patient_id) ~ ' as ' if patient_id }}patient_bucket,
{%- endmacro %}

{% macro bucket_of(patient_id) -%}
  pmod(hash({{ patient_id }}), {{ var('buckets') }})
{%- endmacro %}

{# Otherwise each task would write a file into each bucket. #}
{% macro spark__by_bucket() -%}
  distribute by patient_bucket
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
