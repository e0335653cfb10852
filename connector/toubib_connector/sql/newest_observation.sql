-- Whether raw holds observations of a run that the state does not know; no row if it holds none.
select coalesce(max(_sdc_sync_started_at) > try_cast($synced_at as timestamptz), true) as is_unknown
from raw.patients
having count(*) > 0
