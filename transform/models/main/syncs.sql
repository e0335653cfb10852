select
  started_at,
  ended_at,
  kind,
  api_url,
  is_bundled_api,
  total_items_before,
  total_items_after,
  records,
  rejected,
  deleted,
  requests,
  bookmark_before,
  bookmark_after
from {{ source('raw', 'syncs') }}
