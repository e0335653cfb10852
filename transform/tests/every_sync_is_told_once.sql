-- the kind decides what an observation is worth
select started_at
from {{ ref('syncs') }}
group by started_at
having count(*) > 1 or started_at is null or not min(kind) in ('first_load', 'changes', 'full')
