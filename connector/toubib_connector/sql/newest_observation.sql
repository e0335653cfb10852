-- The newest observation: whether ids are integers, and whether the state may lack it; no row if raw is empty.
select
  typeof(id) like '%INT' as has_integer_id,
  coalesce(_sdc_sync_started_at > try_cast($synced_at as timestamptz), true) as is_unknown
from raw.patients
order by _sdc_sync_started_at desc
limit 1
