{#
  The rule of the history.

  A version is an island: neighbouring observations of a patient with the same content, which is all attributes and
  `created_at`. A deletion has no content: it ends a version and starts none. Observations are ordered by source time,
  then by when they were seen:

    observation                                           | source time
    ------------------------------------------------------|--------------------------------------------------------------
    states an `updated_at`                                | `updated_at`
    states none, or one a day or more after it was seen   | none: follows the latest source time seen so far
    is a deletion                                         | none: follows everything seen so far, precedes everything
                                                          |   seen later
    is read by a full refresh (a first load is one), with | the same for the run: what a full refresh reads is the
      an older `updated_at` than earlier runs have seen   |   patient's state, also of a source that was restored

  A version starts at the source time of its first observation, if that is later than all source times and deletions
  before it, and not later than when it was seen; otherwise when it was seen. Where that contradicts the order, it starts
  a microsecond after the version before: intervals are ordered and none is empty.

  An observation was seen when the tap read it, but before any run started that was loaded later, whatever the clock said.

  Of two observations of a patient under the same `updated_at`, a null beside a value is unknown, not null.

  All of it follows from the set of observations of a patient and from raw.syncs, in whichever order and however often
  they arrived. That is why a touched patient can be computed alone.
#}
{{ config(
  materialized='incremental',
  unique_key='patient_id',
  on_schema_change='append_new_columns',
  post_hook='{{ move_built_until() }}'
) }}
-- depends_on: {{ ref('untested_patients') }}

with patients as (
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

-- an unknown null is the value seen last before it, or otherwise first after it
completed as (
  select * from patients anti join repeated using (patient_id, updated_at)
  union all by name
  select
    patient_id,
    updated_at,
    _sdc_extracted_at,
    _sdc_batched_at,
    _sdc_sync_started_at,
    _sdc_deleted_at,
    coalesce(
      last_value(columns(* exclude (
        patient_id, updated_at, _sdc_extracted_at, _sdc_batched_at, _sdc_sync_started_at, _sdc_deleted_at
      )) ignore nulls) over (so_far rows between unbounded preceding and current row),
      first_value(columns(* exclude (
        patient_id, updated_at, _sdc_extracted_at, _sdc_batched_at, _sdc_sync_started_at, _sdc_deleted_at
      )) ignore nulls) over (so_far rows between current row and unbounded following)
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

-- instants are microseconds from here on, with which DuckDB calculates faster
observations as (
  select
    completed.patient_id,
    completed._sdc_sync_started_at as sync_started_at,
    completed._sdc_deleted_at is not null as is_deletion,
    runs.is_full,
    completed.updated_at,
    completed._sdc_extracted_at as observed_at,
    least(epoch_us(completed._sdc_extracted_at), epoch_us(runs.next_started_at) - 1) as seen_at,
    least(
      epoch_us(coalesce(completed._sdc_sync_started_at, completed._sdc_extracted_at)),
      epoch_us(runs.next_started_at) - 1
    ) as run_started_at,
    struct_pack(*columns(completed.* exclude (
      patient_id, updated_at, _sdc_extracted_at, _sdc_batched_at, _sdc_sync_started_at, _sdc_deleted_at
    ))) as content
  from completed
  left join runs on completed._sdc_sync_started_at = runs.started_at
),

timed as (
  select
    * replace (if(is_deletion, null, content) as content),
    case when not is_deletion and epoch_us(updated_at) < seen_at + 86400000000 then epoch_us(updated_at) end
      as source_time,
    max(source_time) over (
      partition by patient_id order by run_started_at range between unbounded preceding and 1 preceding
    ) as source_time_of_earlier_runs
  from observations
),

-- an era begins with a deletion, or with a full refresh that read an older state than was known
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
    (content is distinct from lag(content) over in_order) as starts_island,
    max(if(is_deletion, seen_at, position)) over (
      in_order rows between unbounded preceding and 1 preceding
    ) as position_before
  from placed
  window in_order as (
    partition by patient_id
    order by era nulls first, position nulls first, seen_at, observed_at, updated_at nulls first, content
  )
),

islands as (
  select
    *,
    count(case when starts_island then 1 end) over (partition by patient_id order by observation_number) as island,
    -- unless that contradicts the order
    if(source_time <= position_before or source_time is null, seen_at, least(source_time, seen_at)) as starts_at
  from numbered
),

versions as (
  select
    patient_id,
    island,
    is_deletion,
    any_value(content) as content,
    arg_min(starts_at, observation_number) as starts_at,
    min(seen_at) as first_seen_at,
    arg_min(sync_started_at, seen_at) as first_sync_started_at,
    arg_max_null(updated_at, observation_number) as last_updated_at
  from islands
  where island > 0
  group by patient_id, island, is_deletion
),

started as (
  select
    *,
    -- the latest start so far, and a microsecond for each version since
    max(starts_at - island) over (partition by patient_id order by island) + island as valid_from
  from versions
),

closed as (
  select
    *,
    lead(valid_from) over in_order as valid_to,
    lead(is_deletion) over in_order as is_deleted_next,
    row_number() over (partition by patient_id, is_deletion order by island) as version_number
  from started
  window in_order as (partition by patient_id order by island)
)

select
  patient_id || '-' || version_number as patient_version_id,
  patient_id,
  content.*,
  last_updated_at as updated_at,
  make_timestamptz(first_seen_at) as observed_at,
  first_sync_started_at as sync_started_at,
  version_number,
  make_timestamptz(valid_from) as valid_from,
  make_timestamptz(valid_to) as valid_to,
  valid_to is null as is_current,
  case when is_deleted_next then 'deletion' when valid_to is not null then 'change' end as ended_by
from closed
where not is_deletion
