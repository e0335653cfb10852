{# What stands in ../builds.sql, for Apache Spark with tables of Parquet files. These know no delete, but one part of a
   table can be written again: raw and the history are kept in buckets of patients. There are no transactions: what is
   written twice after a build that failed is the same. #}

{% macro spark__is_touched() %}
  {%- set buckets = run_query('select bucket from bookkeeping.touched_buckets').columns[0].values() if execute else [] %}
  {{- return('patient_bucket in (' ~ buckets | join(', ') ~ ')' if buckets else 'false') }}
{% endmacro %}

{% macro spark__move_built_until() %}
  {% set since = until('built_until') %}
  {% set newest %}
    select cast(greatest(
      timestamp '{{ since }}',
      (select max(_sdc_batched_at) from {{ source('raw', 'patients') }} where {{ is_touched() }}),
      (select max(_sdc_batched_at) from {{ source('raw', 'syncs') }})
    ) as string)
  {% endset %}
  {% do set_until(
    run_query(newest).rows[0][0], '0001-01-01' if flags.FULL_REFRESH else until('tested_until')
  ) if execute %}
{% endmacro %}

{% macro spark__move_tested_until() %}
  {% do set_until(until('built_until'), until('built_until')) %}
{% endmacro %}

{% macro until(column) %}
  {% set query = "select coalesce(max(cast(" ~ column ~ " as string)), '0001-01-01') from bookkeeping.builds" %}
  {{- return(run_query(query).rows[0][0] if execute) }}
{% endmacro %}

{% macro set_until(built_until, tested_until) %}
  {% do run_query(
    "insert overwrite bookkeeping.builds select timestamp '" ~ built_until ~ "', timestamp '" ~ tested_until ~ "'"
  ) %}
{% endmacro %}
