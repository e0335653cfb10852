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
        has_all_ids: Whether the run collects ids from the first patient on. With a partial set, patients before the
            checkpoint or the bookmark would look new.
    """

    kind: str
    since: str | None = None
    checkpoint: Checkpoint | None = None
    has_all_ids: bool = True


def choose_scope(config: Mapping[str, Any], state: State, plan: Plan) -> Scope:
    """Return the scope of a run."""
    if not plan.changes:
        return Scope("full")
    is_full_refresh: bool = config["full_refresh"]
    # only by id do patients keep their offsets between runs
    if state.checkpoint and not state.synced_at and plan.is_by_id and not is_full_refresh:
        return Scope("first_load", checkpoint=state.checkpoint, has_all_ids=False)
    instants = []
    if state.bookmark and not is_full_refresh:
        instants.append(look_back(state.bookmark, config))
    if start_date := config.get("start_date"):
        instants.append(shift(start_date))
    if instants:
        return Scope("changes", max(instants), has_all_ids=not state.bookmark)
    is_first = not state.bookmark and not state.synced_at and not config.get("known_ids_file")
    return Scope("first_load" if is_first else "full")


def look_back(instant: str, config: Mapping[str, Any]) -> str:
    """Return how far to read back: a transaction that commits late has an `updated_at` earlier than the bookmark."""
    return shift(instant, seconds=-config["lookback_seconds"])
