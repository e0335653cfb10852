-- a warning: patients can be created and deleted in the source between the count and the last page
{{ config(severity='warn') }}

with last_sync as (
  select total_items_after from {{ ref('syncs') }}
  order by started_at desc
  limit 1
),

current_patients as (
  select count(*) as number from {{ ref('patients') }}
)

select
  last_sync.total_items_after as in_the_source,
  current_patients.number as in_the_destination,
  current_patients.number - last_sync.total_items_after as difference
from last_sync
cross join current_patients
where current_patients.number <> last_sync.total_items_after
