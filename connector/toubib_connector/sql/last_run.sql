-- The changes of a run: counted over everything loaded since the last build, by failed runs, too.
with loaded as (
  select id, _sdc_deleted_at, _sdc_sync_started_at
  from raw.patients
  where _sdc_batched_at > coalesce($built_until, '-infinity'::timestamptz)
),

brought as (
  select patient_id, version_number, created_at, sync_started_at
  from main.patients_history
  where sync_started_at in (select _sdc_sync_started_at from loaded)
),

returns as (
  select patient_id, version_number + 1 as version_number
  from main.patients_history
  where ended_by = 'deletion' and patient_id in (select patient_id from brought where version_number > 1)
),

versions as (
  select
    brought.version_number,
    returns.version_number is not null as is_return,
    brought.created_at <= syncs.bookmark_before as is_recovery
  from brought
  left join returns using (patient_id, version_number)
  left join main.syncs as syncs on brought.sync_started_at = syncs.started_at
),

last_sync as (
  from main.syncs order by started_at desc limit 1
)

select
  last_sync.kind,
  last_sync.records as "read",
  count(*) filter (version_number = 1 and is_recovery is not true) as new,
  count(*) filter (version_number > 1 and not is_return) as changed,
  (select count(distinct id) from loaded where _sdc_deleted_at is not null) as deleted,
  count(*) filter (is_return) as returned,
  count(*) filter (version_number = 1 and is_recovery) as recovered,
  last_sync.rejected,
  last_sync.requests,
  (select count(*) from main.patients) as patients
from last_sync
left join versions on true
group by all
