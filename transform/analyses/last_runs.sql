-- the last ten runs
with runs as (
  select * from main.syncs
  order by started_at desc
  limit 10
),

counts as (
  select
    versions.sync_started_at,
    count(*) filter (where versions.version_number = 1 and versions.created_at <= runs.bookmark_before) as recovered,
    count(*) filter (where versions.version_number = 1) - recovered as new,
    count(*) filter (where previous.ended_by = 'change') as changed,
    count(*) filter (where previous.ended_by = 'deletion') as returned
  from runs
  inner join main.patients_history as versions on runs.started_at = versions.sync_started_at
  left join main.patients_history as previous
    on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
  group by versions.sync_started_at
)

select
  strftime(runs.started_at, '%d %b %H:%M') as started,
  runs.kind,
  coalesce(counts.new, 0) as new,
  coalesce(counts.changed, 0) as changed,
  runs.deleted,
  coalesce(counts.returned, 0) as returned,
  coalesce(counts.recovered, 0) as recovered,
  runs.rejected,
  runs.total_items_after as source
from runs
left join counts on runs.started_at = counts.sync_started_at
order by runs.started_at desc;
