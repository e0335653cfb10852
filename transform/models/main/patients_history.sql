{#
  The rule of the history.

  A version is an island: neighbouring observations of a patient with the same content, which is all attributes and
  `created_at`. A tombstone has no content: it ends a version and starts none. Observations are ordered by source time,
  then by the instant at which they were seen:

    observation                                         | source time and place
    ----------------------------------------------------|-------------------------------------------------------------
    has an `updated_at`                                 | `updated_at`
    has none, or one a day or more after it was seen    | none: follows the latest source time seen so far
    is a tombstone                                      | none: begins an era, so it follows everything seen so far and
                                                        |   precedes everything seen later
    was read by a full refresh or a first load, and its | `updated_at`; its run begins an era, since a complete read is
      `updated_at` is older than one of an earlier run  |   authoritative: the source was restored from a backup

  A version starts at the source time of its first observation, if this is later than all source times and deletions
  before it and not later than the instant at which it was seen; otherwise at that instant. A version that would start
  before the previous one starts a microsecond after it: intervals are ordered and none is empty.

  An observation was seen when the tap read it, but always before the start of every run that was loaded later: this
  corrects a clock that was ahead.

  Observations with the same `updated_at` complete each other: a null in one takes the value of another, because a
  column can appear in the API between the two. Observations that differ only in their content are ordered by a digest of
  it, which can change with DuckDB's release.

  The result depends on the set of a patient's observations and on raw.syncs, not on the order in which rows arrived, nor
  on repetitions. So each patient can be computed alone.
#}
{{ config(
  materialized='incremental',
  unique_key='patient_id',
  on_schema_change='append_new_columns',
  post_hook='{{ move_built_until() }}'
) }}
-- depends_on: {{ ref('untested_patients') }}
{% set not_content %}
  _sdc_observation_id, patient_id, updated_at, _sdc_extracted_at, _sdc_batched_at, _sdc_sync_started_at, _sdc_deleted_at
{% endset %}

-- in a first build, CTEs that are read twice would hold all patients in memory
with patients as {{ 'not' if not is_incremental() }} materialized (
  select * from {{ ref('stg_patients') }}
  {% if is_incremental() %}
    where patient_id in ({{ touched_patients('built_until') }})
  {% endif %}
),

repeated as (
  select
    patient_id,
    updated_at
  from patients
  group by patient_id, updated_at
  having count(*) > 1
),

-- a null takes the last value seen before it, otherwise the first one after it
completed as not materialized (
  select * from patients anti join repeated using (patient_id, updated_at)
  union all by name
  select
    {{ not_content }},
    coalesce(
      last_value(columns(* exclude ({{ not_content }})) ignore nulls)
        over (so_far rows between unbounded preceding and current row),
      first_value(columns(* exclude ({{ not_content }})) ignore nulls)
        over (so_far rows between current row and unbounded following)
    )
  from patients semi join repeated using (patient_id, updated_at)
  window so_far as (partition by patient_id, updated_at order by _sdc_extracted_at, patients)
),

runs as (
  select
    started_at,
    bool_or(kind <> 'changes') as is_full,
    min(started_at) over (
      order by min(_sdc_batched_at), started_at rows between 1 following and unbounded following
    ) as next_started_at
  from {{ source('raw', 'syncs') }}
  group by started_at
),

-- From here on instants are integers (microseconds), and a 64-bit digest replaces the content: windows over all columns
-- need nearly twice the memory.
observations as (
  select
    completed._sdc_observation_id,
    completed.patient_id,
    completed._sdc_deleted_at is not null as is_deletion,
    runs.is_full,
    completed.updated_at,
    completed._sdc_extracted_at as observed_at,
    least(epoch_us(completed._sdc_extracted_at), epoch_us(runs.next_started_at) - 1) as seen_at,
    least(
      epoch_us(coalesce(completed._sdc_sync_started_at, completed._sdc_extracted_at)),
      epoch_us(runs.next_started_at) - 1
    ) as run_started_at,
    hash(struct_pack(*columns(completed.* exclude ({{ not_content }})))) as content_digest
  from completed
  left join runs on completed._sdc_sync_started_at = runs.started_at
),

timed as (
  select
    * replace (if(is_deletion, null, content_digest) as content_digest),
    case when not is_deletion and epoch_us(updated_at) < seen_at + 86400000000 then epoch_us(updated_at) end
      as source_time,
    max(source_time) over (
      partition by patient_id order by run_started_at range between unbounded preceding and 1 preceding
    ) as source_time_of_earlier_runs
  from observations
),

-- an era is named by the instant at which it begins
eras as (
  select
    *,
    max(case
      when is_deletion then seen_at
      when is_full and source_time < source_time_of_earlier_runs then run_started_at
    end) over (partition by patient_id order by seen_at, observed_at, is_deletion) as era
  from timed
),

placed as (
  select
    *,
    coalesce(source_time, max(source_time) over (
      partition by patient_id, era order by seen_at, observed_at
    )) as position
  from eras
),

numbered as (
  select
    *,
    row_number() over in_order as observation_number,
    (content_digest is distinct from lag(content_digest) over in_order) as starts_island,
    max(if(is_deletion, seen_at, position)) over (
      in_order rows between unbounded preceding and 1 preceding
    ) as position_before
  from placed
  window in_order as (
    partition by patient_id
    order by era nulls first, position nulls first, seen_at, observed_at, updated_at nulls first, content_digest
  )
),

islands as (
  select
    *,
    count(case when starts_island then 1 end) over (partition by patient_id order by observation_number) as island,
    if(source_time <= position_before or source_time is null, seen_at, least(source_time, seen_at)) as starts_at
  from numbered
),

versions as (
  select
    patient_id,
    island,
    is_deletion,
    arg_min(_sdc_observation_id, seen_at) as first_observation_id,
    min(seen_at) as first_seen_at,
    arg_max_null(updated_at, observation_number) as last_updated_at,
    -- the latest start so far plus a microsecond for each island since
    max(arg_min(starts_at, observation_number) - island) over (partition by patient_id order by island) + island
      as valid_from
  from islands
  where island > 0
  group by patient_id, island, is_deletion
),

closed as (
  select
    *,
    lead(valid_from) over in_order as valid_to,
    lead(is_deletion) over in_order as is_deleted_next,
    count(case when not is_deletion then 1 end) over in_order as version_number
  from versions
  window in_order as (partition by patient_id order by island)
)

select
  closed.patient_id || '-' || closed.version_number as patient_version_id,
  closed.patient_id,
  completed.* exclude ({{ not_content }}),
  closed.last_updated_at as updated_at,
  make_timestamptz(closed.first_seen_at) as observed_at,
  completed._sdc_sync_started_at as sync_started_at,
  closed.version_number,
  make_timestamptz(closed.valid_from) as valid_from,
  make_timestamptz(closed.valid_to) as valid_to,
  closed.valid_to is null as is_current,
  case when closed.is_deleted_next then 'deletion' when closed.valid_to is not null then 'change' end as ended_by
from closed
inner join completed on closed.first_observation_id = completed._sdc_observation_id
where not closed.is_deletion
