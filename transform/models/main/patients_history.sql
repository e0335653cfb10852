{#
  The rule of the history, and its only place.

  A version is an island of observations of one patient with the same content: all attributes and `created_at`.

  Observations follow each other by source time, then by when they were seen. Source time is what the observation
  states: `updated_at`, or the instant of a deletion. An observation without source time follows the latest one stated
  by all that was seen earlier. It has none
  - if it states none, or one that is more than a day later than when it was seen;
  - if it is the state after a restore: a full refresh read it, and it states an earlier time than something that was
    seen before that refresh began (a source restored from a backup); or a deletion that does so;
  - if it was seen later than a deletion or a restored state, and does not state a later time than all until then.
  So a full refresh is authoritative: what it read is the patient's state, and stays it until something newer is seen.

  A version is valid from its source time on; without one, and where the content changed under an unchanged source
  time, from when it was first seen. Where that contradicts the order, since a clock was set back or a change was seen
  late, it is valid from a microsecond after the version before it: intervals are ordered and none is empty.

  In a column that a run did not emit a null is unknown, not null: it stands for the value that was seen there under the
  same `updated_at`, the last before or else the first after it. So neither a new column nor one that was deselected for
  some time makes a version until the patient changes.

  All of it follows from the set of observations of a patient and from raw.syncs, however often and in whichever order
  they arrived. That is why a touched patient can be computed alone.
#}
{{ config(
  materialized='incremental',
  incremental_strategy=incremental_strategy(),
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
{% set unknown = unknown_intervals() %}
{% set beginning = "timestamp '0001-01-01'" %}

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
  -- for each observation, how many of those with its `updated_at` knew the column until then
  counted as (
    select
      {% for name, intervals in unknown.items() %}
        count(
          case when {{ quoted(name) }} is not null or not {{ is_unknown(intervals, '_sdc_extracted_at') }} then 1 end
        ) over (
          partition by patient_id, updated_at, _sdc_deleted_at is null
          order by _sdc_extracted_at, {{ quoted(name) }} nulls first
          rows between unbounded preceding and current row
        ) as _sdc_known_{{ loop.index }},
      {% endfor %}
      *
    from patients
  ),

  -- until the next one that knew it there is one value: that of the one that did
  informed as (
    select
      patient_id,
      {% for name in attributes() if name not in unknown %}
        {{ quoted(name) }},
      {% endfor %}
      {% for name in unknown %}
        max({{ quoted(name) }}) over (
          partition by patient_id, updated_at, _sdc_deleted_at is null, greatest(_sdc_known_{{ loop.index }}, 1)
        ) as {{ quoted(name) }},
      {% endfor %}
      created_at,
      updated_at,
      _sdc_deleted_at,
      {{ bucket() }}
      _sdc_extracted_at
    from counted
  ),
{% endif %}

observed as (
  select
    patients.patient_id,
    patients.updated_at,
    patients._sdc_deleted_at as deleted_at,
    patients._sdc_extracted_at as observed_at,
    refreshes.started_at as refreshed_at,
    {{ bucket() }}
    -- a deletion has none
    case
      when patients._sdc_deleted_at is null then {{ bundle(attributes() + ['created_at'], 'patients') }}
    end as contents
  from {{ 'informed as patients' if unknown else 'patients' }}
  left join refreshes on patients._sdc_extracted_at between refreshes.started_at and refreshes.ended_at
),

stated as (
  select
    *,
    {{ stated_at() }} as stated_at
  from observed
),

preceded as (
  select
    *,
    coalesce(
      max(stated_at) over (
        partition by patient_id order by {{ seen_order() }} rows between unbounded preceding and 1 preceding
      ),
      {{ beginning }}
    ) as stated_before
  from stated
),

restored as (
  select
    *,
    coalesce(stated_at < case
      when deleted_at is not null then stated_before
      -- before the refresh began
      when refreshed_at is not null then min(stated_before) over (partition by patient_id, refreshed_at)
    end, false) as is_restored
  from preceded
),

timed as (
  select
    *,
    case
      when
        not is_restored
        and stated_at > coalesce(
          max(case when is_restored or deleted_at is not null then greatest(stated_at, stated_before) end) over (
            partition by patient_id order by {{ seen_order() }} rows between unbounded preceding and 1 preceding
          ),
          {{ beginning }}
        )
        then stated_at
    end as source_time
  from restored
),

placed as (
  select
    *,
    coalesce(source_time, stated_before) as place,
    row_number() over (
      partition by patient_id order by coalesce(source_time, stated_before), {{ seen_order() }}, contents nulls last
    ) as observation_number
  from timed
),

compared as (
  select
    *,
    lag(place) over in_order as place_before,
    (contents is distinct from lag(contents) over in_order) as starts_island
  from placed
  window in_order as (partition by patient_id order by observation_number)
),

islands as (
  select
    *,
    count(case when starts_island then 1 end) over (
      partition by patient_id order by observation_number rows between unbounded preceding and current row
    ) as island
  from compared
),

-- each island by its first observation, and when it would begin if that contradicted nothing
versions as (
  select
    *,
    min(observed_at) over (partition by patient_id, island) as first_observed_at,
    last_value(updated_at) over (
      partition by patient_id, island
      order by observation_number rows between unbounded preceding and unbounded following
    ) as last_updated_at,
    case
      when deleted_at is not null then deleted_at
      when source_time is null or source_time = place_before then observed_at
      else source_time
    end as begins_at
  from islands
  qualify starts_island
),

-- the latest begin so far, and a microsecond for each island since
dated as (
  select
    *,
    {{ add_microseconds(
      'max(' ~ add_microseconds('begins_at', '-island') ~ ') over (partition by patient_id order by island)', 'island'
    ) }} as valid_from
  from versions
),

closed as (
  select
    *,
    lead(valid_from) over in_order as valid_to,
    lead(deleted_at) over in_order as deleted_after,
    row_number() over (partition by patient_id, deleted_at is null order by island) as version_number
  from dated
  window in_order as (partition by patient_id order by island)
)

select
  patient_id || '-' || version_number as patient_version_id,
  patient_id,
  {{ columns(attributes() + ['created_at'], 'contents') }},
  last_updated_at as updated_at,
  first_observed_at as observed_at,
  version_number,
  valid_from,
  valid_to,
  valid_to is null as is_current,
  {{ bucket() }}
  case when deleted_after is not null then 'deletion' when valid_to is not null then 'change' end as ended_by
from closed
where deleted_at is null
{{ by_bucket() }}
