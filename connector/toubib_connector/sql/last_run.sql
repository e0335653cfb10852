-- The changes of a run: counted over everything loaded since the last build, by failed runs, too.
with loaded as (
  select id, _sdc_deleted_at, _sdc_sync_started_at
  from raw.patients
  where _sdc_batched_at > coalesce($built_until, '-infinity'::timestamptz)
),

versions as (
  select
    history.version_number,
    previous.ended_by = 'deletion' as is_return,
    history.created_at <= syncs.bookmark_before as is_recovery
  from main.patients_history as history
  left join main.patients_history as previous
    on history.patient_id = previous.patient_id and history.version_number = previous.version_number + 1
  left join main.syncs as syncs on history.sync_started_at = syncs.started_at
  where history.sync_started_at in (select _sdc_sync_started_at from loaded)
),

last_sync as (
  from main.syncs order by started_at desc limit 1
)

select
  last_sync.kind,
  last_sync.records as "read",
  count(*) filter (version_number = 1 and is_recovery is not true) as new,
  count(*) filter (version_number > 1 and is_return is not true) as changed,
  (select count(distinct id) from loaded where _sdc_deleted_at is not null) as deleted,
  count(*) filter (is_return) as returned,
  count(*) filter (version_number = 1 and is_recovery) as recovered,
  last_sync.rejected,
  last_sync.requests,
  (select count(*) from main.patients) as patients
from last_sync
left join versions on true
group by all
