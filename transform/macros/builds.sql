{# What was built and tested. `bookkeeping.builds` has one row: up to which `_sdc_batched_at` raw is in the history, and
   up to which all data tests have passed. The first moves in the transaction that builds, so that whatever a failed
   build left out is in the next one. build.py moves the second. #}

{# The patients whose history can have changed since: those with new observations, and those observed by a run that
   started no earlier than one whose row in raw.syncs is new, since that row says what these observations are worth. #}
{% macro touched_patients(since) -%}
  {% set limit = '(select ' ~ since ~ ' from bookkeeping.builds)' %}
  select patient_id from {{ ref('stg_patients') }} where _sdc_batched_at > {{ limit }}
  union all
  select patient_id from {{ ref('stg_patients') }}
  where _sdc_sync_started_at >= (
    select min(started_at) from {{ source('raw', 'syncs') }} where _sdc_batched_at > {{ limit }}
  )
{%- endmacro %}

{% macro move_built_until() %}
  update bookkeeping.builds set
    built_until = coalesce(greatest(
      (select max(_sdc_batched_at) from {{ source('raw', 'patients') }}),
      (select max(_sdc_batched_at) from {{ source('raw', 'syncs') }})
    ), built_until)
    {%- if flags.FULL_REFRESH %}, tested_until = '0001-01-01'{% endif %}
{% endmacro %}

{# A history is also built as a whole where a column has another type since, or the clock was set back: what is loaded
   now can look older than what was built. #}
{% macro should_full_refresh() %}
  {% if flags.FULL_REFRESH or not execute %}
    {{ return(flags.FULL_REFRESH) }}
  {% endif %}
  {% set query %}
    select exists(from bookkeeping.builds where built_until > now()) or exists(
      select column_name from duckdb_columns()
      where (schema_name, table_name) in (('staging', 'stg_patients'), ('main', 'patients_history'))
      group by column_name
      having count(distinct data_type) > 1
    )
  {% endset %}
  {{ return(run_query(query).rows[0][0]) }}
{% endmacro %}

{# After a full refresh: drops new observations that repeat the one before, unless they state an `updated_at` that was
   superseded by then (the source may have been restored) or lies in the future; and of the same rejected records all
   but the latest. #}
{% macro compact_raw() %}
  {% do run_query("
    delete from raw.patients where rowid in (
      with observations as (
        select
          rowid as observation_id,
          id,
          updated_at,
          _sdc_extracted_at,
          _sdc_batched_at,
          struct_pack(*columns(* exclude (_sdc_extracted_at, _sdc_batched_at, _sdc_sync_started_at))) as content
        from raw.patients
        where id in (
          select id from raw.patients where _sdc_batched_at > (select built_until from bookkeeping.builds)
        )
      )

      select observation_id from observations
      window before as (
        partition by id order by _sdc_batched_at, _sdc_extracted_at rows between unbounded preceding and 1 preceding
      )
      qualify
        _sdc_batched_at > (select built_until from bookkeeping.builds)
        and content = lag(content) over before
        and (updated_at is null or updated_at between max(updated_at) over before and lag(_sdc_extracted_at) over before)
    );
    delete from raw.rejected_records where rowid in (
      select rowid from raw.rejected_records
      qualify row_number() over (partition by id, field, reason, record order by _sdc_batched_at desc) > 1
    )
  ") %}
  {% do adapter.commit() %}
{% endmacro %}
