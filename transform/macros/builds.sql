{# What was built and tested. `bookkeeping.builds` has one row: up to which `_sdc_batched_at` raw is in the history, and
   up to which all data tests have passed. The first moves in the transaction that builds, so that what a failed build
   left out is in the next one. #}

{# The patients whose history can have changed since: those of new observations, and those that a run observed whose
   row in raw.syncs is new, since that tells what its observations are worth. #}
{% macro touched_patients(since) -%}
  select touched.patient_id from {{ ref('stg_patients') }} as touched
  where
    touched._sdc_batched_at > (select {{ since }} from bookkeeping.builds)
    or touched._sdc_extracted_at >= (
      select min(syncs.started_at) from {{ source('raw', 'syncs') }} as syncs
      where syncs._sdc_batched_at > (select {{ since }} from bookkeeping.builds)
    )
{%- endmacro %}

{# The observations that a build must look at: those of touched patients, and more if that is cheaper. #}
{% macro is_touched() %}
  {{- return(adapter.dispatch('is_touched')()) }}
{% endmacro %}

{% macro duckdb__is_touched() -%}
  patient_id in ({{ touched_patients('built_until') }})
{%- endmacro %}

{# What data tests look at, so that their cost follows what was built. #}
{% macro is_untested() -%}
  patient_id in ({{ touched_patients('tested_until') }})
{%- endmacro %}

{% macro move_built_until() %}
  {{- return(adapter.dispatch('move_built_until')()) }}
{% endmacro %}

{% macro duckdb__move_built_until() %}
  update bookkeeping.builds set
    built_until = coalesce(greatest(
      (select max(_sdc_batched_at) from {{ source('raw', 'patients') }}),
      (select max(_sdc_batched_at) from {{ source('raw', 'syncs') }})
    ), built_until)
    {%- if flags.FULL_REFRESH %}, tested_until = timestamp '0001-01-01'{% endif %}
{% endmacro %}

{# Where a test was left out, what it has not seen stays untested. #}
{% macro move_tested_until(results) %}
  {% if execute %}
    {% set passed = results | selectattr('status', 'in', ['pass', 'warn']) | map(attribute='node.unique_id') | list %}
    {% set tests = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | map(attribute='unique_id') %}
    {{ adapter.dispatch('move_tested_until')() if not tests | reject('in', passed) | list }}
  {% endif %}
{% endmacro %}

{% macro duckdb__move_tested_until() %}
  update bookkeeping.builds set tested_until = built_until where tested_until <> built_until
{% endmacro %}

{# Keeps raw from growing where nothing changes. Of new observations those are dropped that repeat what was observed of
   the patient just before, if they were made by a run that has ended, or before it; of rejected records all but the
   latest of the same. The history is the same without them, as long as what is loaded later was also observed later. #}
{% macro drop_repetitions() %}
  {{- return(adapter.dispatch('drop_repetitions')()) }}
{% endmacro %}

{% macro default__drop_repetitions() %}{% endmacro %}

{% macro duckdb__drop_repetitions() %}
  {% set is_new = '_sdc_batched_at > (select built_until from bookkeeping.builds)' %}
  {% set loaders = ['_sdc_extracted_at', '_sdc_batched_at'] %}
  {% set names = raw_columns('patients') %}
  delete from raw.patients where rowid in (
    with observations as (
      select
        rowid as row_id,
        id,
        _sdc_extracted_at as observed_at,
        {{ raw_value('updated_at', names) }} as updated_at,
        {{ raw_value('_sdc_deleted_at', names) }} as deleted_at,
        row({{ columns(names | reject('in', loaders)) }}) as content
      from raw.patients
      where id in (select id from raw.patients where {{ is_new }})
    ),

    stated as (
      select
        *,
        {{ stated_at() }} as stated_at,
        (
          select max(syncs.started_at) from raw.syncs
          where syncs.kind <> 'changes' and observed_at between syncs.started_at and syncs.ended_at
        ) as refreshed_at
      from observations
    ),

    told as (
      select
        *,
        row(
          content,
          stated_at,
          -- whether it may be a state that was restored
          case when stated_at < max(stated_at) over before then refreshed_at end
          {%- for intervals in unknown_intervals().values() %}, {{ is_unknown(intervals) }}{% endfor %}
        ) as what_is_told
      from stated
      window before as (
        partition by id order by {{ seen_order() }} rows between unbounded preceding and 1 preceding
      )
    )

    select row_id from told
    qualify
      what_is_told = lag(what_is_told) over (partition by id order by {{ seen_order() }}, content)
      and observed_at <= (select max(ended_at) from raw.syncs)
  );
  {% set new %}select 1 from raw.rejected_records where {{ is_new }} limit 1{% endset %}
  {% if execute and run_query(new).rows %}
    delete from raw.rejected_records where rowid in (
      select rowid from raw.rejected_records
      qualify row_number() over (
        partition by {{ columns(raw_columns('rejected_records') | reject('in', loaders)) }}
        order by _sdc_extracted_at desc
      ) > 1
    )
  {% endif %}
{% endmacro %}
