{#
  The rule of the history, and its only place.

  A version is an unbroken run of observations of one patient with the same content: all attributes and `created_at`.
  Observations follow each other by source time, then by when they were seen. Source time is `updated_at`; without one,
  or when it lies before a deletion that was seen earlier, it is when the patient was seen; of a deletion, its instant.

  A version is valid from its source time on; where the content changed under an unchanged source time, from when it
  was first seen. Where that contradicts the order, since a clock was set back or a change was seen late, it is valid
  from a microsecond after the version before it: intervals are ordered and none is empty.

  All of it follows from the set of observations of a patient, however often and in whichever order they arrived. That
  is why a patient named by the new part of the log can be computed anew, alone.
#}
{{ config(
  materialized='incremental',
  incremental_strategy='delete+insert',
  unique_key='patient_id',
  on_schema_change='append_new_columns',
  post_hook='{{ move_loaded_until() }}'
) }}

with observations as (
  select
    *,
    max(deleted_at) over (
      partition by patient_id
      order by observed_at, deleted_at nulls first
      rows between unbounded preceding and 1 preceding
    ) as deleted_before
  from {{ ref('stg_patients') }}
  {% if is_incremental() %}
    where patient_id in (
      select loaded.patient_id from {{ ref('stg_patients') }} as loaded
      where loaded.loaded_at > (select built.loaded_until from staging.history_loaded_until as built)
    )
  {% endif %}
),

-- a deletion has no contents
timed as (
  select
    *,
    case
      when deleted_at is not null then deleted_at
      when updated_at is null or updated_at <= deleted_before then observed_at
      else updated_at
    end as source_time,
    case when deleted_at is null then {{ content(attributes() + ['created_at']) }} end as contents
  from observations
),

compared as (
  select
    *,
    lag(contents) over in_order as previous_contents,
    lag(source_time) over in_order as previous_source_time
  from timed
  window in_order as (partition by patient_id order by source_time, observed_at, contents)
),

marked as (
  select
    *,
    case when (contents is distinct from previous_contents) then 1 end as start_mark
  from compared
),

numbered as (
  select
    *,
    count(start_mark) over (
      partition by patient_id
      order by source_time, observed_at, contents
      rows between unbounded preceding and current row
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
    case when source_time = previous_source_time then observed_at else source_time end as wanted_from
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
  case when next_deleted_at is not null then 'deletion' when valid_to is not null then 'change' end as ended_by,
  observed_at,
  created_at,
  latest_updated_at as updated_at
from closed
where deleted_at is null
