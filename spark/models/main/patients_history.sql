-- ../transform states the rule; `make test-spark` compares the two tables row for row.
-- depends_on: {{ ref('untested_patients') }}
{{ config(materialized='table', file_format='parquet') }}
{% set names = names_in(ref('stg_patients'), ['patient_id', 'updated_at']) %}
{% set in_raw_only = ['_sdc_extracted_at', '_sdc_batched_at', '_sdc_sync_started_at', '_sdc_deleted_at'] %}
{% set attributes = names | reject('in', in_raw_only) | list %}
{% set so_far %}
  partition by patient_id, updated_at order by _sdc_extracted_at, {{ columns(names, '`{0}` nulls last') }}
{% endset %}

with completed as (
  select
    patient_id,
    updated_at,
    _sdc_extracted_at,
    _sdc_sync_started_at,
    _sdc_deleted_at,
    struct({{ columns(attributes, '
      if(updated_at is null, `{0}`, coalesce(
        last_value(`{0}`) ignore nulls over before, first_value(`{0}`) ignore nulls over after
      )) as `{0}`
    ') }}) as content
  from {{ ref('stg_patients') }}
  window
    before as ({{ so_far }} rows between unbounded preceding and current row),
    after as ({{ so_far }} rows between current row and unbounded following)
),

runs as (
  select
    started_at,
    bool_or(kind <> 'changes') as is_full,
    min(started_at) over (
      order by min(_sdc_batched_at), started_at rows between 1 following and unbounded following
    ) as next_started_at
  from {{ source('raw', 'syncs') }}
  where started_at is not null
  group by started_at
),

observations as (
  select
    completed.patient_id,
    completed._sdc_sync_started_at as sync_started_at,
    completed._sdc_deleted_at is not null as is_deletion,
    runs.is_full,
    completed.updated_at,
    completed._sdc_extracted_at as observed_at,
    least(unix_micros(completed._sdc_extracted_at), unix_micros(runs.next_started_at) - 1) as seen_at,
    least(
      unix_micros(coalesce(completed._sdc_sync_started_at, completed._sdc_extracted_at)),
      unix_micros(runs.next_started_at) - 1
    ) as run_started_at,
    case when completed._sdc_deleted_at is null then completed.content end as content
  from completed
  left join runs on completed._sdc_sync_started_at = runs.started_at
),

timed as (
  select
    *,
    case when not is_deletion and unix_micros(updated_at) < seen_at + 86400000000 then unix_micros(updated_at) end
      as source_time
  from observations
),

compared as (
  select
    *,
    max(source_time) over (
      partition by patient_id order by run_started_at range between unbounded preceding and 1 preceding
    ) as source_time_of_earlier_runs
  from timed
),

eras as (
  select
    *,
    max(case
      when is_deletion then seen_at
      when is_full and source_time < source_time_of_earlier_runs then run_started_at
    end) over (partition by patient_id order by seen_at, observed_at, is_deletion) as era
  from compared
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
    row_number() over (
      partition by patient_id
      order by
        era nulls first, position nulls first, seen_at, observed_at, updated_at nulls first,
        {{ columns(attributes, 'content.`{0}` nulls last') }}
    ) as observation_number
  from placed
),

neighbours as (
  select
    *,
    content is distinct from lag(content) over (
      partition by patient_id order by observation_number
    ) as starts_island,
    max(if(is_deletion, seen_at, position)) over (
      partition by patient_id order by observation_number rows between unbounded preceding and 1 preceding
    ) as position_before
  from numbered
),

islands as (
  select
    *,
    count(case when starts_island then 1 end) over (partition by patient_id order by observation_number) as island,
    if(source_time <= position_before or source_time is null, seen_at, least(source_time, seen_at)) as starts_at
  from neighbours
),

versions as (
  select
    patient_id,
    island,
    is_deletion,
    any_value(content) as content,
    min_by(starts_at, observation_number) as starts_at,
    min(seen_at) as first_seen_at,
    min_by(sync_started_at, seen_at) as first_sync_started_at,
    max_by(updated_at, observation_number) as last_updated_at
  from islands
  where island > 0
  group by patient_id, island, is_deletion
),

started as (
  select
    *,
    max(starts_at - island) over (partition by patient_id order by island) + island as valid_from
  from versions
),

closed as (
  select
    *,
    lead(valid_from) over (partition by patient_id order by island) as valid_to,
    lead(is_deletion) over (partition by patient_id order by island) as is_deleted_next,
    row_number() over (partition by patient_id, is_deletion order by island) as version_number
  from started
)

select
  patient_id || '-' || version_number as patient_version_id,
  patient_id,
  content.*,
  last_updated_at as updated_at,
  timestamp_micros(first_seen_at) as observed_at,
  first_sync_started_at as sync_started_at,
  version_number,
  timestamp_micros(valid_from) as valid_from,
  timestamp_micros(valid_to) as valid_to,
  valid_to is null as is_current,
  case when is_deleted_next then 'deletion' when valid_to is not null then 'change' end as ended_by
from closed
where not is_deletion
