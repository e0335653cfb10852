"""Output of a run: audit, rejected records, selection by a catalog, and failures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_toubib.streams.patients import PatientsStream
from tap_toubib.tap import TapToubib
from tap_toubib.testing import TEXT, Api, day, fill

from .conftest import Runner, both_ways

pytestmark = both_ways

OURS = {"_sdc_deleted_at", "_sdc_sync_started_at"}


def catalog(api: Api, *deselected: str, without: str | None = None) -> dict[str, Any]:
    """Return the discovered catalog with streams or columns (`stream.column`) deselected, or without a column."""
    found: dict[str, Any] = TapToubib(config={"api_url": api.url}).catalog_dict
    for stream in found["streams"]:
        for each in stream["metadata"]:
            path = ".".join([stream["stream"], *each["breadcrumb"][1:]])
            each["metadata"]["selected"] = path not in deselected
        stream["schema"]["properties"].pop(without, None)
        stream["metadata"] = [each for each in stream["metadata"] if each["breadcrumb"][1:] != [without]]
    return found


def test_record_that_cannot_be_loaded_is_written_before_the_state_that_passes_it(api: Api, run: Runner) -> None:
    fill(api, 5)
    api.rows[2]["updated_at"] = "2024-01-03"
    api.rows[3]["id"] = 4.5
    output = run(page_size=2)
    assert output.ids == [1, 2, 5]
    rejected = output.records("rejected_records")
    assert {record["id"]: record["field"] for record in rejected} == {"3": "updated_at", "4.5": "id"}
    assert json.loads(rejected[0]["record"]) in api.rows
    kinds = [(each["type"], each.get("stream")) for each in output.messages]
    last_rejected = len(kinds) - 1 - kinds[::-1].index(("RECORD", "rejected_records"))
    assert kinds.index(("SCHEMA", "rejected_records")) < kinds.index(("RECORD", "rejected_records"))
    assert last_rejected < kinds.index(("STATE", None))


def test_sync_describes_a_first_load(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.rows[1]["created_at"] = "soon"
    api.before[4] = lambda: api.add(8)
    begin = datetime.now(UTC)
    sync = run(page_size=3, max_parallel_requests=1).sync
    started, ended = (datetime.fromisoformat(sync.pop(name)) for name in ("started_at", "ended_at"))
    assert begin <= started <= ended <= datetime.now(UTC)
    assert sync == {
        "kind": "first_load",
        "api_url": api.url,
        "is_bundled_api": False,
        "total_items_before": 7,
        "total_items_after": 8,
        "records": 7,
        "rejected": 1,
        "deleted": 0,
        "requests": 8,
        "bookmark_before": None,
        "bookmark_after": day(7),
    }


def test_sync_describes_a_periodic_run_and_counts_failed_requests(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.before[1] = lambda: api.fail(503, times=2)
    sync = run(bookmark=day(5), page_size=10).sync
    assert (sync["kind"], sync["records"], sync["requests"]) == ("changes", 3, 3)
    assert (sync["bookmark_before"], sync["bookmark_after"]) == (day(5), day(7))


def test_column_that_is_deselected_is_not_written(api: Api, run: Runner) -> None:
    api.offer("id", "updated_at", email=TEXT)
    api.add(1, email="a@example.org")
    output = run(catalog=catalog(api, "patients.email", "patients.created_at"))
    assert output.records() == [{"id": 1, "updated_at": day(1)}]
    assert output.schemas["patients"]["properties"].keys() == {"id", "updated_at", *OURS}


def test_column_that_an_older_catalog_does_not_know_is_in_no_record_without_being_in_the_schema(
    api: Api, run: Runner
) -> None:
    api.offer("id", "updated_at", email=TEXT)
    api.add(1, email="a@example.org")
    output = run(catalog=catalog(api, without="email"))
    assert output.records()[0].keys() | OURS == output.schemas["patients"]["properties"].keys()


def test_deletions_are_written_though_their_column_is_deselected(api: Api, run: Runner) -> None:
    fill(api, 5)
    state = run().state
    del api.rows[2]
    output = run(state=state, catalog=catalog(api, "patients._sdc_deleted_at"))
    assert [record["id"] for record in output.records() if record.get("_sdc_deleted_at")] == [3]
    assert "_sdc_deleted_at" in output.schemas["patients"]["properties"]


def test_rejected_records_that_are_deselected_are_not_written(api: Api, run: Runner) -> None:
    api.add(1)
    api.add(2, updated_at="soon")
    output = run(catalog=catalog(api, "rejected_records"))
    assert output.ids == [1]
    assert "rejected_records" not in {each.get("stream") for each in output.messages}
    assert output.sync["rejected"] > 0


@pytest.mark.parametrize("deselected", [["syncs"], ["syncs.kind", "syncs.records"]], ids=str)
def test_audit_is_written_though_it_is_deselected(api: Api, run: Runner, deselected: list[str]) -> None:
    api.add(1)
    output = run(catalog=catalog(api, *deselected))
    assert output.sync["kind"] == "first_load"
    assert output.sync.keys() == output.schemas["syncs"]["properties"].keys()


def test_audit_is_written_though_the_catalog_does_not_know_it(api: Api, run: Runner) -> None:
    api.add(1)
    known = catalog(api)
    known["streams"] = [stream for stream in known["streams"] if stream["stream"] == "patients"]
    assert run(catalog=known).sync["records"] == 1


def test_all_records_of_a_run_were_read_between_its_begin_and_its_end(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.rows[2]["created_at"] = "soon"
    state = run(page_size=3).state
    del api.rows[4]
    output = run(page_size=3, state=state, full_refresh=True)
    times = [
        each["time_extracted"]
        for each in output.messages
        if each.get("stream") in {"patients", "rejected_records"} and each["type"] == "RECORD"
    ]
    assert len(times) == 7
    begin, end = (datetime.fromisoformat(output.sync[name]) for name in ("started_at", "ended_at"))
    assert all(begin <= datetime.fromisoformat(time) <= end for time in times)


def test_nothing_is_written_when_patients_are_deselected(api: Api, run: Runner) -> None:
    api.add(1)
    output = run(catalog=catalog(api, "patients"))
    assert "patients" not in output.schemas
    assert not [each for each in output.messages if each["type"] == "RECORD"]


@pytest.mark.parametrize("bookmark", [None, day(2)], ids=["first load", "periodic run"])
@pytest.mark.parametrize("failing", [2, 3])
def test_run_that_fails_midway_leaves_the_state_as_it_was(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, failing: int, bookmark: str | None
) -> None:
    monkeypatch.setattr(PatientsStream, "STATE_MSG_FREQUENCY", 2)
    api.offer("updated_at")
    fill(api, 12)
    api.before[failing] = api.fail
    with pytest.raises(RetriableAPIError):
        run(bookmark=bookmark, page_size=4, max_parallel_requests=1)
    states = [each["value"]["bookmarks"]["patients"] for each in run.output.messages if each["type"] == "STATE"]
    given = {"replication_key": "updated_at", "replication_key_value": bookmark} if bookmark else {}
    assert states
    for state in states:
        # the SDK's own note
        state.pop("starting_replication_value", None)
        assert state == given
    assert not run.output.records("syncs")
    output = run(bookmark=bookmark, page_size=4)
    assert set(output.ids) == set(range(2 if bookmark else 1, 13))
    # ids can only be collected from the first patient on
    ids = set() if bookmark else {"known_ids"}
    assert output.patients.keys() == {"synced_at", "replication_key", "replication_key_value", "emitted"} | ids


def test_api_that_cannot_be_read_leaves_the_destination_untouched(api: Api, run: Runner) -> None:
    api.before[1] = lambda: api.fail(403, times=1)
    with pytest.raises(FatalAPIError):
        run()
    assert {each["type"] for each in run.output.messages} == {"SCHEMA"}
