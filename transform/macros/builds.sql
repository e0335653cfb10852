{# `bookkeeping.builds` has one row. The history contains raw up to the `_sdc_batched_at` in `built_until`, and all data
   tests have passed up to `tested_until`. The transaction of a build moves `built_until`, so the next build repeats
   everything that a failed one left out. build.py moves `tested_until`. #}

{# Patients whose history can have changed since: those with new observations, and those observed by a run whose row in
   raw.syncs is new, or by a later run. The row says whether the run was a full refresh, and corrects clocks. #}
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

{# Overrides dbt's macro: the whole history is also built again if the type of a column changed, or if the clock was set
   back, because new rows then look older than `built_until`. #}
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

{# After a full refresh: deletes new observations that repeat the previous one of their patient, unless their
   `updated_at` is older than an earlier one (the source may have been restored) or in the future. Of equal rejected
   records, the latest stays. #}
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
