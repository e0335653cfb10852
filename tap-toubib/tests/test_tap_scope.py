"""The scope of a run, as a table of settings, state and plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tap_toubib.plan import BY_ID, Order, Plan
from tap_toubib.scope import Scope, choose_scope
from tap_toubib.state import Checkpoint, State

BY_UPDATE = Order("updated_at", "desc", is_instant=True)
BY_ID_AND_UPDATE = Plan(BY_ID, (BY_UPDATE,))
BY_UPDATE_ONLY = Plan(BY_UPDATE, (BY_UPDATE,))
BY_ID_ONLY = Plan(BY_ID, ())

HIGH_WATER = datetime(2024, 1, 2, tzinfo=UTC)
CHECKPOINT = Checkpoint(offset=99, last_id=100, high_water=HIGH_WATER)
LOADED = State(replication_key_value=HIGH_WATER, synced_at="2024-01-03T00:00:00.000000Z")
BEGUN = State(checkpoint=CHECKPOINT)

FIRST_LOAD = Scope("first_load")
RESUMED = Scope("first_load", checkpoint=CHECKPOINT, has_all_ids=False)
CHANGES = Scope("changes", "2024-01-01T23:59:00.000000Z", has_all_ids=False)
FEBRUARY = "2024-02-01T00:00:00.000000Z"
START = {"start_date": "2024-02-01"}
IDS = {"known_ids_file": "ids.txt"}
FULL_REFRESH = {"full_refresh": True}


@pytest.mark.parametrize(
    ("plan", "state", "config", "expected"),
    [
        (BY_ID_AND_UPDATE, State(), {}, FIRST_LOAD),
        (BY_UPDATE_ONLY, State(), {}, Scope("first_load")),
        (BY_ID_ONLY, State(), {}, Scope("full")),
        (BY_ID_AND_UPDATE, State(), FULL_REFRESH, Scope("first_load")),
        (BY_ID_AND_UPDATE, State(), IDS, Scope("full")),
        (BY_ID_AND_UPDATE, State(), IDS | FULL_REFRESH, Scope("full")),
        (BY_ID_AND_UPDATE, State(), START, Scope("changes", FEBRUARY)),
        (BY_ID_AND_UPDATE, BEGUN, {}, RESUMED),
        (BY_ID_AND_UPDATE, BEGUN, START, RESUMED),
        (BY_ID_AND_UPDATE, BEGUN, IDS, RESUMED),
        (BY_ID_AND_UPDATE, BEGUN, FULL_REFRESH, Scope("first_load")),
        (BY_UPDATE_ONLY, BEGUN, {}, Scope("first_load")),
        (BY_ID_ONLY, BEGUN, {}, Scope("full")),
        (BY_ID_AND_UPDATE, LOADED, {}, CHANGES),
        (BY_UPDATE_ONLY, LOADED, {}, CHANGES),
        (BY_ID_ONLY, LOADED, {}, Scope("full")),
        (BY_ID_AND_UPDATE, LOADED, IDS, CHANGES),
        (BY_ID_AND_UPDATE, LOADED, {"lookback_seconds": 0}, replace(CHANGES, since="2024-01-02T00:00:00.000000Z")),
        (BY_ID_AND_UPDATE, LOADED, START, replace(CHANGES, since=FEBRUARY)),
        (BY_ID_AND_UPDATE, LOADED, {"start_date": "2023-01-01"}, CHANGES),
        (BY_ID_AND_UPDATE, LOADED, FULL_REFRESH, Scope("full")),
        (BY_ID_AND_UPDATE, LOADED, FULL_REFRESH | START, Scope("changes", FEBRUARY, has_all_ids=False)),
        # a checkpoint that Meltano merged with the state of a later run
        (BY_ID_AND_UPDATE, State(HIGH_WATER, LOADED.synced_at, checkpoint=CHECKPOINT), {}, CHANGES),
        # patients that were never updated have the zero of .NET or Go
        (
            BY_ID_AND_UPDATE,
            State(replication_key_value=datetime(1, 1, 1, tzinfo=UTC), synced_at=LOADED.synced_at),
            {},
            replace(CHANGES, since="0001-01-01T00:00:00.000000Z"),
        ),
        # an API that could not sort by change so far
        (BY_ID_AND_UPDATE, State(synced_at=LOADED.synced_at), {}, Scope("full")),
    ],
)
def test_scope_follows_from_the_settings_the_state_and_the_plan(
    plan: Plan, state: State, config: dict[str, Any], expected: Scope
) -> None:
    assert choose_scope({"full_refresh": False, "lookback_seconds": 60} | config, state, plan) == expected
