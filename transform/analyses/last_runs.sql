-- what the last ten runs did
select
  strftime(started_at, '%Y-%m-%d %H:%M') as started,
  round(epoch(ended_at - started_at), 1) as seconds,
  kind,
  requests,
  records as "read",
  rejected,
  deleted,
  total_items_after as in_the_source
from main.syncs
order by started_at desc
limit 10;
