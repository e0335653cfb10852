-- patients in the source at the last sync, and the contents of the destination; no row before the first load
select
  started_at as source_as_of,
  coalesce(api_url, 'the API') as api_url,
  coalesce(is_bundled_api, false) as is_bundled_api,
  total_items_after as source_patients,
  (select count(*) from main.patients) as patients,
  (select count(*) from main.patients_history) as versions,
  (select count(*) from raw.patients) as observations,
  (select count(distinct record) from raw.rejected_records) as rejected
from main.syncs
order by started_at desc
limit 1
