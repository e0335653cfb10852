{# Up to where of the log the history was built. The mark moves in the transaction that builds: what a failed build left
   out is in the next one. The patients that a build computes are tested until all tests have passed. #}

{% macro create_loaded_until() %}
  {{- return(adapter.dispatch('create_loaded_until')()) }}
{% endmacro %}

{% macro duckdb__create_loaded_until() %}
  create schema if not exists staging;
  create table if not exists staging.history_loaded_until as select timestamp '0001-01-01' as loaded_until;
  create table if not exists staging.untested_patients (patient_id bigint);
  -- the clock was set back: what is loaded now lies before the mark
  update staging.history_loaded_until set loaded_until = timestamp '0001-01-01'
  where loaded_until > now() at time zone 'UTC';
{% endmacro %}

{# The patients that the new part of the log names. #}
{% macro new_patients() -%}
  select loaded.patient_id from {{ ref('stg_patients') }} as loaded
  where loaded.loaded_at > (select built.loaded_until from staging.history_loaded_until as built)
{%- endmacro %}

{# The observations that a build must look at: those of new patients, and more if that is cheaper. #}
{% macro is_touched() %}
  {{- return(adapter.dispatch('is_touched')()) }}
{% endmacro %}

{% macro duckdb__is_touched() -%}
  patient_id in ({{ new_patients() }})
{%- endmacro %}

{% macro move_loaded_until() %}
  {{- return(adapter.dispatch('move_loaded_until')()) }}
{% endmacro %}

{% macro duckdb__move_loaded_until() %}
  insert into staging.untested_patients
  {% if flags.FULL_REFRESH %}select patient_id from {{ this }}{% else %}{{ new_patients() }}{% endif %};
  update staging.history_loaded_until
  set loaded_until = (select coalesce(max(loaded_at), timestamp '0001-01-01') from {{ ref('stg_patients') }})
{% endmacro %}

{# What data tests look at, so that their cost follows what was built. #}
{% macro is_untested() -%}
  patient_id in (select untested.patient_id from staging.untested_patients as untested)
{%- endmacro %}

{% macro forget_tested_patients(results) %}
  {% if flags.WHICH == 'build' and results | selectattr('status', 'in', ['fail', 'error', 'skipped']) | list | length == 0 %}
    {{ empty('staging.untested_patients') }}
  {% endif %}
{% endmacro %}
