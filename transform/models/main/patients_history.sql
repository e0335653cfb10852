{#
  The rule of the history, and its only place.

  A version is an island: observations of one patient that follow each other with the same content, which is all
  attributes and `created_at`. A deletion has no content; it is an island that is no version.

  Observations follow each other by position, then by when they were seen. The position is the source time or, of an
  observation that has none, the latest time stated by all that was seen before it.

  Source time is what an observation states: `updated_at`, or the instant of a deletion. An observation has none
  - if it states none, or one that is more than a day later than when it was seen;
  - if it is restored: it states an earlier time than what was seen before. For a deletion that is all seen before it;
    for what a full refresh read, all seen before the refresh started, since a source can be restored from a backup;
  - if a deletion or a restored observation was seen before it, and it does not state a later time than all until then.
  So a full refresh, as which a first load counts, too, is authoritative: what it read is the patient's state, and stays
  it until something newer is seen.

  A version starts at the source time of its first observation; without one, and where the content changed under an
  unchanged source time, when that was seen. Where this contradicts the order, since a clock was set back or a change
  was seen late, it starts a microsecond after the version before: intervals are ordered and none is empty.

  In a column that a run did not emit a null is unknown, not null: it stands for the value that was seen there under the
  same `updated_at`, the last before or otherwise the first after it. So neither a new column nor one that was
  deselected for some time makes a version until the patient changes.

  All of it follows from the set of observations of a patient and from raw.syncs, however often and in whichever order
  they arrived. That is why a touched patient can be computed alone.
#}
{{ config(
  materialized='incremental',
  unique_key='patient_id',
  on_schema_change='sync_all_columns',
  pre_hook='{{ drop_repetitions() }}',
  post_hook=[
    '{{ move_built_until() }}',
    {
      'sql': "{{ require_values([
        'patient_version_id', 'patient_id', 'version_number', 'valid_from', 'is_current', 'observed_at'
      ]) }}",
      'transaction': false
    }
  ]
) }}
{% set names = attributes() %}
{% set unknown = unknown_intervals() %}
{% set never = "timestamp '0001-01-01'" %}

with patients as (
  select * from {{ ref('stg_patients') }}
  {% if is_incremental() %}
    where {{ is_touched() }}
  {% endif %}
),

refreshes as (
  select distinct
    started_at,
    ended_at
  from {{ ref('syncs') }}
  where kind <> 'changes'
),

{% if unknown %}
  informed as (
    select
      patient_id,
      {% for name in names if name not in unknown %}
        {{ quoted(name) }},
      {% endfor %}
      {% for name, intervals in unknown.items() %}
        {% set known %}
          case
            when {{ quoted(name) }} is not null or not {{ is_unknown(intervals, '_sdc_extracted_at') }}
              then {{ bundle([name]) }}
          end
        {% endset %}
        {% set alike %}
          partition by patient_id, updated_at, _sdc_deleted_at is null
          order by _sdc_extracted_at, {{ quoted(name) }} nulls first
          rows between
        {% endset %}
        (coalesce(
          {{ skip_nulls('last_value', known) }} over ({{ alike }} unbounded preceding and current row),
          {{ skip_nulls('first_value', known) }} over ({{ alike }} current row and unbounded following)
        )).{{ quoted(name) }} as {{ quoted(name) }},
      {% endfor %}
      created_at,
      updated_at,
      _sdc_deleted_at,
      _sdc_extracted_at
    from patients
  ),
{% endif %}

observed as (
  select
    patients.patient_id,
    patients.updated_at,
    patients._sdc_deleted_at as deleted_at,
    patients._sdc_extracted_at as observed_at,
    refreshes.started_at as refreshed_at,
    {{ stated_at('patients._sdc_extracted_at', 'patients.updated_at', 'patients._sdc_deleted_at') }} as stated_at,
    case when patients._sdc_deleted_at is null then {{ bundle(names + ['created_at'], 'patients') }} end as contents
  from {{ 'informed as patients' if unknown else 'patients' }}
  left join refreshes on patients._sdc_extracted_at between refreshes.started_at and refreshes.ended_at
),

preceded as (
  select
    *,
    coalesce(
      max(stated_at) over (
        partition by patient_id order by {{ seen_order() }} rows between unbounded preceding and 1 preceding
      ),
      {{ never }}
    ) as stated_before
  from observed
),

restored as (
  select
    *,
    coalesce(stated_at < case
      when deleted_at is not null then stated_before
      -- it only grows, so the least of a refresh is what it was when that started
      when refreshed_at is not null then min(stated_before) over (partition by patient_id, refreshed_at)
    end, false) as is_restored
  from preceded
),

timed as (
  select
    *,
    -- all stated until the last deletion or restored observation: only what is later has a source time
    coalesce(
      max(case when is_restored or deleted_at is not null then greatest(stated_at, stated_before) end) over (
        partition by patient_id order by {{ seen_order() }} rows between unbounded preceding and 1 preceding
      ),
      {{ never }}
    ) as barrier,
    case when stated_at > barrier and not is_restored then stated_at end as source_time,
    coalesce(source_time, stated_before) as position
  from restored
),

placed as (
  select
    *,
    row_number() over in_order as observation_number,
    lag(position) over in_order as position_before,
    (contents is distinct from lag(contents) over in_order) as starts_island
  from timed
  window in_order as (partition by patient_id order by position, {{ seen_order() }}, contents nulls last)
),

islands as (
  select
    *,
    count(case when starts_island then 1 end) over (
      partition by patient_id order by observation_number rows between unbounded preceding and current row
    ) as island,
    -- when the island would start if that contradicted nothing
    case
      when deleted_at is not null then deleted_at
      when source_time is null or source_time = position_before then observed_at
      else source_time
    end as starts_at
  from placed
),

-- each island by its first observation
versions as (
  select
    *,
    min(observed_at) over (partition by patient_id, island) as first_observed_at,
    last_value(updated_at) over (
      partition by patient_id, island
      order by observation_number rows between unbounded preceding and unbounded following
    ) as last_updated_at,
    -- the latest start so far, and a microsecond for each island since
    {{ add_microseconds(
      'max(case when starts_island then ' ~ add_microseconds('starts_at', '-island') ~ ' end)'
      ~ ' over (partition by patient_id order by observation_number)',
      'island'
    ) }} as valid_from
  from islands
  qualify starts_island
),

closed as (
  select
    *,
    lead(valid_from) over in_order as valid_to,
    lead(deleted_at) over in_order as deleted_after,
    row_number() over (partition by patient_id, deleted_at is null order by island) as version_number
  from versions
  window in_order as (partition by patient_id order by island)
)

select
  patient_id || '-' || version_number as patient_version_id,
  patient_id,
  {{ columns(names + ['created_at'], 'contents') }},
  last_updated_at as updated_at,
  first_observed_at as observed_at,
  version_number,
  valid_from,
  valid_to,
  valid_to is null as is_current,
  {{ bucket('patient_id') }}
  case when deleted_after is not null then 'deletion' when valid_to is not null then 'change' end as ended_by
from closed
where deleted_at is null
{{ by_bucket() }}
