{{ config(materialized='view') }}

select
  started_at,
  ended_at,
  kind,
  columns,
  total_items_before,
  total_items_after,
  records,
  rejected,
  deleted,
  recovered,
  requests,
  bookmark_before,
  bookmark_after
from {{ source('raw', 'syncs') }}
