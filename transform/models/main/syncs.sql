{{ config(materialized='view') }}

select
  started_at,
  ended_at,
  kind,
  api_url,
  is_bundled_api,
  columns,
  total_items_before,
  total_items_after,
  records,
  rejected,
  deleted,
  {{ 'coalesce(recovered, repaired) as recovered' if 'repaired' in raw_columns('syncs') else 'recovered' }},
  requests,
  bookmark_before,
  bookmark_after
from {{ source('raw', 'syncs') }}
