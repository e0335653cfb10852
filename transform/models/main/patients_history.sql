{#
  The rule of the history, and its only place.

  A version is an unbroken run of observations of one patient with the same content: all attributes and `created_at`.

  Observations follow each other by source time, then by when they were seen. Source time is `updated_at`; of a
  deletion, its instant. An observation has none if it has no `updated_at`, or one that is more than a day later than
  when it was seen, or one that is not later than a deletion seen earlier: it follows the latest source time of all that
  was seen earlier.

  A version is valid from its source time on; without one, and where the content changed under an unchanged source
  time, from when it was first seen. Where that contradicts the order, since a clock was set back or a change was seen
  late, it is valid from a microsecond after the version before it: intervals are ordered and none is empty.

  In a column that appeared later than the first run, a null that was observed before is unknown: it stands for what
  was first seen there under the same `updated_at`, or else for null. So a patient has no new version because of a new
  column until it changes.

  All of it follows from the set of observations of a patient, however often and in whichever order they arrived. That
  is why a patient named by the new part of the log can be computed anew, alone.
#}
{{ config(
  materialized='incremental',
  incremental_strategy=incremental_strategy(),
  unique_key='patient_id',
  on_schema_change='sync_all_columns',
  pre_hook='{{ drop_repetitions() }}',
  post_hook='{{ move_loaded_until() }}'
) }}
{% set late = late_attributes() %}
{% set seen_order = 'observed_at, deleted_at nulls first, updated_at nulls first' %}
{% set before = 'rows between unbounded preceding and 1 preceding' %}

with observations as (
  select * from {{ ref('stg_patients') }}
  {% if is_incremental() %}
    where {{ is_touched() }}
  {% endif %}
),

{% if late %}
  known as (
    select
      patient_id,
      {% for name in attributes() %}
        {% set column = columns([name]) %}
        {% if name in late %}
          case
            when {{ column }} is null and {{ observed_before(late[name]) }}
              then first_value({{ column }}) over (
                partition by patient_id, updated_at, deleted_at is null
                order by
                  case when {{ column }} is null and {{ observed_before(late[name]) }} then 1 else 0 end,
                  observed_at,
                  {{ column }} nulls first
              )
            else {{ column }}
          end as {{ column }},
        {% else %}
          {{ column }},
        {% endif %}
      {% endfor %}
      created_at,
      updated_at,
      deleted_at,
      {{ bucket() }}
      observed_at
    from observations
  ),
{% endif %}

-- a deletion has no contents
compared as (
  select
    *,
    max(deleted_at) over (partition by patient_id order by {{ seen_order }} {{ before }}) as deleted_before,
    case when deleted_at is null then {{ content(attributes() + ['created_at']) }} end as contents
  from {{ 'known' if late else 'observations' }}
),

timed as (
  select
    *,
    case
      when deleted_at is not null then deleted_at
      when {{ is_believable() }} and coalesce(updated_at > deleted_before, true) then updated_at
    end as source_time
  from compared
),

placed as (
  select
    *,
    coalesce(
      source_time,
      max(source_time) over (partition by patient_id order by {{ seen_order }} {{ before }}),
      timestamp '0001-01-01'
    ) as place
  from timed
),

ordered as (
  select
    *,
    row_number() over (
      partition by patient_id order by place, {{ seen_order }}, contents nulls last
    ) as observation_number
  from placed
),

adjoined as (
  select
    *,
    lag(place) over in_order as previous_place,
    lag(contents) over in_order as previous_contents
  from ordered
  window in_order as (partition by patient_id order by observation_number)
),

marked as (
  select
    *,
    case when (contents is distinct from previous_contents) then 1 end as start_mark
  from adjoined
),

numbered as (
  select
    *,
    count(start_mark) over (
      partition by patient_id order by observation_number rows between unbounded preceding and current row
    ) as run_number
  from marked
),

updated as (
  select
    *,
    max(updated_at) over (partition by patient_id, run_number) as latest_updated_at
  from numbered
),

-- each run by its first observation, and when it would begin if that contradicted nothing
starts as (
  select
    *,
    case
      when deleted_at is not null then deleted_at
      when source_time is null or source_time = previous_place then observed_at
      else source_time
    end as wanted_from
  from updated
  where start_mark = 1
),

shifted as (
  select
    *,
    {{ add_microseconds('wanted_from', '-run_number') }} as shifted_from
  from starts
),

-- the latest begin wanted so far, and a microsecond for each run since
dated as (
  select
    *,
    {{ add_microseconds('max(shifted_from) over (partition by patient_id order by run_number)', 'run_number') }}
      as valid_from
  from shifted
),

closed as (
  select
    *,
    lead(valid_from) over (partition by patient_id order by run_number) as valid_to,
    lead(deleted_at) over (partition by patient_id order by run_number) as next_deleted_at,
    row_number() over (partition by patient_id, deleted_at is null order by run_number) as version_number
  from dated
)

select
  patient_id || '-' || version_number as patient_version_id,
  patient_id,
  {{ columns(attributes()) }},
  version_number,
  valid_from,
  valid_to,
  valid_to is null as is_current,
  {{ bucket() }}
  case when next_deleted_at is not null then 'deletion' when valid_to is not null then 'change' end as ended_by,
  observed_at,
  created_at,
  latest_updated_at as updated_at
from closed
where deleted_at is null
{{ by_bucket() }}
