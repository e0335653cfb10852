{# Up to where of the log the history was built. The mark moves in the transaction that builds: what a failed build left
   out is in the next one. #}

{% macro create_loaded_until() %}
  create schema if not exists staging;
  create table if not exists staging.history_loaded_until as select timestamp '0001-01-01' as loaded_until;
{% endmacro %}

{% macro move_loaded_until() %}
  update staging.history_loaded_until
  set loaded_until = (select coalesce(max(loaded_at), timestamp '0001-01-01') from {{ ref('stg_patients') }})
{% endmacro %}
