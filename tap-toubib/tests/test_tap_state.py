"""A state that is damaged ends a run in one line, before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
from singer_sdk.exceptions import ConfigurationError

from tap_toubib.state import read_state
from tap_toubib.testing import Api, Row, fill

from .conftest import Runner

CHECKPOINT = {"offset": 9, "last_id": 10, "high_water": "2024-01-01T00:00:00.000000Z"}


@pytest.mark.parametrize(
    ("bookmarks", "key"),
    [
        ([], "bookmarks"),
        (None, "bookmarks"),
        ({"patients": None}, "bookmarks.patients"),
        ({"patients": {"replication_key_value": "yesterday"}}, "bookmarks.patients.replication_key_value"),
        ({"patients": {"replication_key_value": 7}}, "bookmarks.patients.replication_key_value"),
        ({"patients": {"known_ids": "AAAA"}}, "bookmarks.patients.known_ids"),
        ({"patients": {"known_ids": "A"}}, "bookmarks.patients.known_ids"),
        ({"patients": {"known_ids": [7]}}, "bookmarks.patients.known_ids"),
        ({"patients": {"emitted": ["7"]}}, "bookmarks.patients.emitted"),
        ({"patients": {"checkpoint": {}}}, "bookmarks.patients.checkpoint"),
        ({"patients": {"checkpoint": CHECKPOINT | {"offset": -1}}}, "bookmarks.patients.checkpoint.offset"),
        ({"patients": {"checkpoint": CHECKPOINT | {"last_id": None}}}, "bookmarks.patients.checkpoint.last_id"),
        ({"patients": {"checkpoint": CHECKPOINT | {"high_water": "x"}}}, "bookmarks.patients.checkpoint.high_water"),
    ],
    ids=str,
)
def test_damaged_state_is_refused_in_one_line_that_names_the_key(
    api: Api, run: Runner, bookmarks: Any, key: str
) -> None:
    fill(api, 3)
    with pytest.raises(ConfigurationError, match=rf"^The state is damaged: .*`\$\.{key}`.* full refresh [^\n]*$"):
        run(state={"bookmarks": bookmarks})
    assert not run.output.messages
    assert not api.pages


@pytest.mark.parametrize(
    "state",
    [{}, {"bookmarks": {}}, {"bookmarks": {"patients": {}, "syncs": {}}}, {"bookmarks": {"patients": {"other": 1}}}],
    ids=str,
)
def test_state_that_holds_nothing_begins_a_first_load(api: Api, run: Runner, state: Row) -> None:
    fill(api, 3)
    assert run(state=state).sync["kind"] == "first_load"


@pytest.mark.parametrize("form", ["2024-01-02T00:00:00Z", "2024-01-02 01:00:00+01:00", "2024-01-02T00:00:00"])
def test_bookmark_may_have_any_form(form: str) -> None:
    state = read_state({"bookmarks": {"patients": {"replication_key_value": form}}})
    assert state.bookmark == "2024-01-02T00:00:00.000000Z"
