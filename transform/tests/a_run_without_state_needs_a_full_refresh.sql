-- depends_on: {{ ref('patients_history') }}
-- a tap without a state reads everything but finds no deletions, which is right in a first run only
select started_at
from {{ source('raw', 'syncs') }}
qualify
  kind = 'first_load'
  and started_at > greatest(min(started_at) over (), max(started_at) filter (where kind = 'full') over ())
