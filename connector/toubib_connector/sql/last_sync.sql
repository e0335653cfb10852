-- The last complete sync, and whether the state does not fit it; no row if there is none.
select
  arg_max(is_bundled_api, started_at) as is_bundled_api,
  arg_max(api_url, started_at) as api_url,
  arg_max(kind, started_at) as kind,
  coalesce(try_cast($synced_at as timestamptz) > max(started_at), true)
  -- a complete read without a state, by `meltano run --full-refresh`: it could not find deletions
  or coalesce(
    max(started_at) filter (kind = 'first_load') > greatest(
      min(started_at),
      coalesce(max(started_at) filter (kind = 'full'), '-infinity'::timestamptz)
    ),
    false
  ) as is_other_state
from raw.syncs
having count(*) > 0
