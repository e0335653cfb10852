-- The last complete sync, and whether the state fits it; no row if there is none.
select
  arg_max(is_bundled_api, started_at) as is_bundled_api,
  arg_max(api_url, started_at) as api_url,
  arg_max(kind, started_at) as kind,
  coalesce(try_cast($synced_at as timestamptz) > max(started_at), true) as is_other_state,
  -- a complete read without a state, by `meltano run --full-refresh`: it could not find deletions
  max(started_at) filter (kind = 'first_load') > greatest(
    min(started_at),
    coalesce(max(started_at) filter (kind = 'full'), '-infinity'::timestamptz)
  ) as had_no_state
from raw.syncs
having count(*) > 0
