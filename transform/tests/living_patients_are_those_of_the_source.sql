-- a warning: rows can appear and vanish in the source between the count and the last page
{{ config(severity='warn') }}

with last_sync as (
  select total_items_after from {{ ref('syncs') }}
  order by started_at desc
  limit 1
),

living as (
  select count(*) as patients from {{ ref('patients') }}
)

select
  last_sync.total_items_after as in_the_source,
  living.patients as in_the_destination,
  living.patients - last_sync.total_items_after as difference
from last_sync
cross join living
where living.patients <> last_sync.total_items_after
