-- a warning: patients can be created and deleted in the source between the count and the last page
{{ config(severity='warn') }}

with counts as (
  select
    (select max_by(total_items_after, _sdc_batched_at) from {{ source('raw', 'syncs') }}) as in_the_source,
    (select count(*) from {{ ref('patients') }}) as in_the_destination
)

select
  *,
  in_the_destination - in_the_source as difference
from counts
where in_the_source <> in_the_destination
