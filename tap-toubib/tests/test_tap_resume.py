"""A first load that was interrupted goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from singer_sdk.exceptions import RetriableAPIError

from tap_toubib.streams.patients import PatientsStream
from tap_toubib.testing import Api, Row

from .conftest import Runner, both_ways

pytestmark = both_ways


@pytest.fixture
def state(api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch) -> Row:
    """The state that a load of 30 patients leaves when its fourth page by id fails."""
    monkeypatch.setattr(PatientsStream, "STATE_MSG_FREQUENCY", 5)
    for patient in range(1, 31):
        api.add(patient)
    api.before[5] = api.fail
    with pytest.raises(RetriableAPIError):
        run(page_size=6, max_parallel_requests=1)
    api.before.clear()
    api.requests.clear()
    assert run.output.state
    return run.output.state


def test_the_state_holds_a_checkpoint_and_nothing_else(run: Runner, state: Row) -> None:
    kinds = [each["type"] for each in run.output.messages]
    written = run.output.messages[: len(kinds) - kinds[::-1].index("STATE")]
    ids = [each["record"]["id"] for each in written if each["type"] == "RECORD"]
    # single records: the state comes before the end of the page
    last_id = 16 if run.folder else 11
    assert {*range(1, last_id + 1)} <= {*ids} <= {*range(1, 17)}
    checkpoint = {"offset": last_id - 1, "last_id": last_id, "high_water": "2024-01-30T00:00:00.000000Z"}
    assert state["bookmarks"]["patients"] == {"checkpoint": checkpoint}


def test_the_next_run_goes_on_from_there_and_looks_for_no_deletions(
    run: Runner, api: Api, state: Row, caplog: pytest.LogCaptureFixture
) -> None:
    last_id = state["bookmarks"]["patients"]["checkpoint"]["last_id"]
    output = run(state=state, page_size=6, max_parallel_requests=1)
    assert output.sync["kind"] == "first_load"
    assert output.ids == [*range(last_id, 31)]
    offsets = [int(page["offset"]) for page in api.pages if page["sort_field"] == "id"]
    assert offsets == [*range(last_id - 1, 26, 5)]
    assert caplog.text.count("Deletions are not looked for until a full refresh") == 1
    patients = {**output.patients}
    assert patients.pop("emitted").keys() == {"30"}
    assert patients == {
        "replication_key": "updated_at",
        "replication_key_value": "2024-01-30T00:00:00.000000Z",
        "synced_at": output.sync["started_at"],
    }
    # later runs look for none either, until a full refresh has read all ids
    del api.rows[4]
    assert not run(state=output.state).ids
    full = run(state=output.state, full_refresh=True, max_deleted_percent=100)
    assert full.known_ids == [row["id"] for row in api.rows]


def test_a_load_that_goes_on_finds_deletions_if_it_is_given_the_ids_of_the_destination(
    run: Runner, api: Api, state: Row, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(map(str, range(1, 17))))
    del api.rows[2]
    output = run(state=state, page_size=6, max_deleted_percent=50, known_ids_file=str(path))
    assert output.sync["kind"] == "first_load"
    assert [record["id"] for record in output.records() if "_sdc_deleted_at" in record] == [3]
    assert output.known_ids == [1, 2, *range(4, 31)]


def test_deletions_before_the_checkpoint_hide_no_patient_after_it(run: Runner, api: Api, state: Row) -> None:
    del api.rows[:4]
    assert set(run(state=state, page_size=6, max_deleted_percent=100).ids) >= set(range(17, 31))


def test_changes_before_the_checkpoint_since_the_load_began_are_caught_up(run: Runner, api: Api, state: Row) -> None:
    api.rows[1]["updated_at"] = "2024-02-01T00:00:00Z"
    # far behind the look-back of the newest change
    api.rows[28]["updated_at"] = "2024-03-01T00:00:00Z"
    output = run(state=state, page_size=6)
    assert 2 in output.ids
    assert output.bookmark == "2024-03-01T00:00:00.000000Z"


def test_late_commits_while_the_load_was_interrupted_are_caught_up(run: Runner, api: Api, state: Row) -> None:
    api.rows[1]["updated_at"] = "2024-01-29T23:59:30Z"
    assert 2 in run(state=state, page_size=6).ids
