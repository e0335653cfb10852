"""The scope of a run, everything or changes. It depends only on the settings, the state and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tap_toubib.plan import Plan
from tap_toubib.state import Checkpoint, State
from tap_toubib.values import shift


@dataclass(frozen=True)
class Scope:
    """The scope of a run.

    Attributes:
        kind: `first_load`, `changes` or `full`, as `syncs` names it.
        since: The instant to read changes from; None to read everything.
        checkpoint: Where an interrupted first load continues.
        is_resumable: Whether the run leaves checkpoints.
        has_all_ids: Whether the run collects ids from the first patient on. With a partial set, patients before the
            checkpoint or the bookmark would look new.
        skips_repeated: Whether records that the last run emitted are left out.
    """

    kind: str
    since: str | None = None
    checkpoint: Checkpoint | None = None
    is_resumable: bool = False
    has_all_ids: bool = True
    skips_repeated: bool = False


def choose_scope(config: Mapping[str, Any], state: State, plan: Plan) -> Scope:
    """Return the scope of a run."""
    is_full_refresh: bool = config["full_refresh"]
    has_ids_file = bool(config.get("known_ids_file"))
    bookmark = None if is_full_refresh else state.bookmark
    is_first = bool(plan.changes) and not state.bookmark and not state.synced_at
    # only by id do patients keep their offsets between runs; a full refresh is all or nothing
    is_resumable = is_first and plan.is_by_id and not is_full_refresh
    if is_resumable and state.checkpoint:
        return Scope("first_load", checkpoint=state.checkpoint, is_resumable=True, has_all_ids=False)
    instants = [look_back(bookmark, config)] if bookmark else []
    if start_date := config.get("start_date"):
        instants.append(shift(start_date))
    if instants and plan.changes:
        # after a failed run, the destination can hold newer observations than the state covers
        skips_repeated = bool(bookmark) and not has_ids_file
        return Scope("changes", max(instants), has_all_ids=not state.bookmark, skips_repeated=skips_repeated)
    if is_first and not has_ids_file:
        return Scope("first_load", is_resumable=is_resumable)
    return Scope("full")


def look_back(instant: str, config: Mapping[str, Any]) -> str:
    """Return how far to read back: a transaction that commits late has an `updated_at` earlier than the bookmark."""
    return shift(instant, seconds=-config["lookback_seconds"])
