"""Patients deleted from the source, and recovered ones: found by rank, or by reading everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from singer_sdk.exceptions import ConfigurationError, FatalAPIError, RetriableAPIError

from tap_toubib.known_ids import KnownIds
from tap_toubib.streams.patients import PatientsStream
from tap_toubib.testing import Api, Row, serving

from .conftest import Output, Runner, both_ways

Load = Callable[..., Row]

OLD, BOOKMARK = "2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


@pytest.fixture
def loaded(api: Api, run: Runner) -> Load:
    """Load so many patients, and return the state."""

    def load(patients: int, **config: Any) -> Row:
        for key in range(1, patients + 1):
            api.add(key, created_at=OLD, updated_at=BOOKMARK if key == 1 else OLD)
        state = run(**config).state
        assert state
        api.requests.clear()
        return state

    return load


def remove(api: Api, *keys: int) -> None:
    api.rows[:] = [row for row in api.rows if row["id"] not in keys]


def deleted(output: Output) -> list[int]:
    return [record["id"] for record in output.records() if record.get("_sdc_deleted_at")]


def test_reconciliation_without_a_difference_costs_two_requests(api: Api, run: Runner, loaded: Load) -> None:
    output = run(state=loaded(2_000))
    assert output.ids == []
    assert len(api.pages) == 1 + 2
    assert api.confirmed == []


@pytest.mark.parametrize(
    "removed", [{7}, {1, 2_000}, {2_000}, set(range(500, 510)), set(range(3, 2_000, 200))], ids=str
)
@both_ways
def test_deleted_patients_are_found_and_confirmed(api: Api, run: Runner, loaded: Load, removed: set[int]) -> None:
    state = loaded(2_000)
    remove(api, *removed)
    output = run(state=state)
    assert sorted(deleted(output)) == sorted(api.confirmed) == sorted(removed)
    assert output.sync["deleted"] == len(removed)
    assert len(api.pages) <= 3 + 5 * len(removed)
    assert not deleted(run(state=output.state))


@both_ways
def test_missed_patients_are_recovered(api: Api, run: Runner, loaded: Load) -> None:
    state = loaded(2_000)
    hidden = [api.rows.pop(position) for position in (100, 900, 1_500)]
    remove(api, 42)
    state = run(state=state).state or {}
    api.rows += hidden
    output = run(state=state)
    assert {row["id"] for row in hidden} == {*output.ids}
    assert not deleted(output)


def test_as_many_deleted_as_missed_are_found_as_soon_as_a_page_shows_one(api: Api, run: Runner, loaded: Load) -> None:
    state = loaded(1_000)
    remove(api, *range(200, 205))
    state = run(state=state).state or {}
    for key in range(200, 205):
        api.add(key, created_at=OLD, updated_at=OLD)
    remove(api, *range(700, 705))
    for _ in range(100):
        output = run(state=state)
        state = output.state or {}
        if deleted(output):
            break
    assert sorted(deleted(output)) == list(range(700, 705))
    assert {200, 201, 202, 203, 204} < set(output.ids)


@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("email", "updated_at"), ("updated_at",), ("id",), ()])
def test_reading_everything_finds_all_of_them(api: Api, run: Runner, loaded: Load, sortable: tuple[str, ...]) -> None:
    api.offer(*sortable, email={"type": "string"})
    state = loaded(250)
    remove(api, 200, 250)
    api.add(300, created_at=OLD, updated_at=OLD)
    output = run(state=state, full_refresh=True)
    assert sorted(deleted(output)) == [200, 250]
    assert len(set(output.ids)) == 251
    assert output.sync["kind"] == "full"
    assert not deleted(run(state=output.state, full_refresh=True))


def test_patients_that_moved_out_of_sight_are_not_taken_for_deleted(api: Api, run: Runner, loaded: Load) -> None:
    state = loaded(1_000)
    hidden = [row for row in api.rows if row["id"] in {300, 301}]
    remove(api, 300, 301)
    # they return before the tap asks for them one by one
    api.before_one = lambda: api.rows.extend(hidden)
    output = run(state=state)
    assert sorted(api.confirmed) == [300, 301]
    assert not deleted(output)


@pytest.mark.parametrize("left", [0, 2, 180])
@pytest.mark.parametrize("config", [{}, {"full_refresh": True}], ids=str)
def test_more_deletions_than_the_limit_end_the_run_unless_it_is_raised(
    api: Api, run: Runner, loaded: Load, left: int, config: dict[str, Any]
) -> None:
    state = loaded(200)
    remove(api, *range(left + 1, 201))
    with pytest.raises(FatalAPIError, match=rf"^{200 - left} of 200 patients are not in the source.*_PERCENT=100"):
        run(state=state, **config)
    assert not deleted(run.output)
    assert not run.output.records("syncs")
    assert config or len(api.pages) <= 10
    assert len(deleted(run(state=state, max_deleted_percent=100, **config))) == 200 - left


@pytest.mark.parametrize("config", [{}, {"full_refresh": True}], ids=str)
def test_a_single_deletion_is_credible_however_few_patients_there_are(
    api: Api, run: Runner, loaded: Load, config: dict[str, Any]
) -> None:
    state = loaded(3)
    remove(api, 2)
    assert deleted(run(state=state, max_deleted_percent=0, **config)) == [2]


def test_the_only_patient_of_an_emptied_source_is_not_taken_for_deleted(api: Api, run: Runner, loaded: Load) -> None:
    state = loaded(1)
    remove(api, 1)
    with pytest.raises(FatalAPIError, match="1 of 1 patients"):
        run(state=state)


@pytest.mark.parametrize("config", [{}, {"full_refresh": True}], ids=str)
def test_a_run_with_a_start_date_looks_for_no_deletions_and_the_next_one_without_it_does(
    api: Api, run: Runner, loaded: Load, config: dict[str, Any]
) -> None:
    state = loaded(300)
    remove(api, 100)
    api.add(301, created_at=OLD, updated_at="2024-01-02T00:00:00Z")
    output = run(state=state, start_date="2023-01-01", **config)
    assert not deleted(output)
    assert output.known_ids == [*range(1, 302)]
    assert deleted(run(state=output.state)) == [100]


def test_patients_that_a_start_date_left_out_arrive_in_the_first_run_without_it(run: Runner, loaded: Load) -> None:
    state = loaded(300, start_date="2023-01-01")
    assert run.output.known_ids == [1]
    output = run(state=state)
    assert {*output.ids} == {*range(2, 301)}
    assert not deleted(output)


@pytest.mark.parametrize("config", [{}, {"full_refresh": True}], ids=str)
def test_a_rejected_patient_is_neither_deleted_nor_missed(
    api: Api, run: Runner, loaded: Load, config: dict[str, Any]
) -> None:
    api.rows.append({"id": 150, "created_at": "soon", "updated_at": OLD})
    api.rows.append({"id": 2**64, "created_at": OLD, "updated_at": OLD})
    state = loaded(140, page_size=2)
    output = run(state=state, page_size=2, **config)
    assert not deleted(output)
    assert api.confirmed == []


def test_a_service_that_gives_far_smaller_pages_than_it_documents_is_reconciled(
    api: Api, run: Runner, loaded: Load
) -> None:
    api.offer("id", "created_at", "updated_at", limit={"type": "integer", "maximum": 1_000})
    api.largest_page = 25
    state = loaded(2_000)
    remove(api, 1_000)
    output = run(state=state)
    assert deleted(output) == [1_000]
    assert len(api.pages) <= 3 + 2 * 7


def test_a_page_that_was_once_cut_short_ends_no_run(
    api: Api, run: Runner, loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = loaded(300)
    remove(api, 1)
    page = api.page

    def cut_short(query: Row) -> Row:
        answer = page(query)
        return answer | {"data": answer["data"][:1]} if len(api.pages) == 1 else answer

    monkeypatch.setattr(api, "page", cut_short)
    assert deleted(run(state=state)) == [1]
    assert len(api.pages) < 20


def test_a_service_that_ignores_the_offset_fails_the_run(
    api: Api, run: Runner, loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = loaded(300)
    page = api.page
    monkeypatch.setattr(api, "page", lambda query: page({**query, "offset": "0"}))
    with pytest.raises(FatalAPIError, match="ignores `offset`"):
        run(state=state)
    assert not deleted(run.output)


def test_a_service_that_does_not_document_single_patients_confirms_nothing(api: Api, run: Runner, loaded: Load) -> None:
    state = loaded(300)
    del api.document["paths"]["/v1/patients/{patient_id}"]
    remove(api, 7)
    api.one_status = 404
    assert not deleted(run(state=state))


@pytest.mark.parametrize("status", [400, 403, 410, 422])
def test_any_answer_but_404_is_not_a_deletion(
    api: Api, run: Runner, loaded: Load, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    state = loaded(300)
    remove(api, 7)
    api.one_status = status
    assert not deleted(run(state=state))
    assert f"GET /v1/patients/7 answered {status}" in caplog.text


def test_ids_too_scattered_for_a_state_cause_a_warning_and_are_not_reconciled(
    api: Api, run: Runner, loaded: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tap_toubib.extraction.LONGEST_TEXT", 100)
    api.rows += [{"id": 1_000 * key, "created_at": OLD, "updated_at": OLD} for key in range(10, 100)]
    state = loaded(5)
    assert "looks for no deletions" in caplog.text
    assert "known_ids" not in state["bookmarks"]["patients"]
    remove(api, 20_000)
    assert not deleted(run(state=state))


@both_ways
@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("email", "updated_at"), ("id",)], ids=str)
@pytest.mark.parametrize("config", [{}, {"full_refresh": True}], ids=str)
def test_a_run_without_a_state_that_is_given_the_ids_of_the_destination_finds_its_deletions(
    api: Api, run: Runner, tmp_path: Path, sortable: tuple[str, ...], config: dict[str, Any]
) -> None:
    api.offer(*sortable, email={"type": "string"})
    for key in range(1, 101):
        api.add(key, created_at=OLD, updated_at=OLD)
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{key}\n" for key in range(1, 103)))
    remove(api, 3)
    output = run(known_ids_file=str(path), page_size=10, **config)
    assert output.sync["kind"] == "full"
    assert deleted(output) == [3, 101, 102]
    assert output.known_ids == sorted({*range(1, 101)} - {3})


@both_ways
def test_ids_of_the_destination_replace_the_ids_of_the_state(run: Runner, loaded: Load, tmp_path: Path) -> None:
    state = loaded(100)
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{key}\n" for key in range(2, 102)))
    output = run(state=state, known_ids_file=str(path))
    assert output.sync["kind"] == "changes"
    assert deleted(output) == [101]
    # the last run emitted patient 1, but the destination lacks it
    assert output.ids == [1, 101]


@pytest.mark.parametrize("content", [None, "1\n7.5\n", "1\nP7\n", f"{2**63}\n", "1\n\u00b2\n"], ids=ascii)
def test_file_of_ids_that_cannot_be_read_ends_the_run(
    api: Api, run: Runner, tmp_path: Path, content: str | None
) -> None:
    api.add(1)
    path = tmp_path / "ids.txt"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=f"^known_ids_file: .*{path}"):
        run(known_ids_file=str(path))


@both_ways
def test_a_full_refresh_that_fails_midway_leaves_the_next_run_all_that_it_needs(
    api: Api, run: Runner, loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientsStream, "STATE_MSG_FREQUENCY", 10)
    state = loaded(300)
    remove(api, 7)
    api.rows[200]["updated_at"] = "2024-02-01T00:00:00Z"
    api.add(301, created_at=OLD, updated_at=OLD)
    api.before[8] = api.fail
    with pytest.raises(RetriableAPIError):
        run(state=state, full_refresh=True, page_size=20, max_parallel_requests=1)
    api.before.clear()
    assert run.output.ids
    left = (run.output.state or {})["bookmarks"]["patients"]
    assert "checkpoint" not in left
    assert left["replication_key_value"] == state["bookmarks"]["patients"]["replication_key_value"]
    output = run(state=run.output.state)
    assert output.sync["kind"] == "changes"
    assert deleted(output) == [7]
    assert {202, 301} <= {*output.ids}


class LargeApi(Api):
    """An API over so many patients that their rows are made when they are asked for.

    Attributes:
        ids: The ids of the patients, ascending.
    """

    ids: list[int]

    def page(self, query: Row) -> Row:
        begin = int(query["offset"])
        end = begin + int(query["limit"])
        ids = self.ids[begin:end] if query["sort_field"] == "id" else self.ids[::-1][begin:end]
        rows = [{"id": key, "created_at": OLD, "updated_at": OLD} for key in ids]
        return {"data": rows, "meta": {"total_items": len(self.ids)}}


@pytest.mark.parametrize(
    ("removed", "hidden", "most_requests"),
    [(set(), set(), 3), ({*range(400_000, 400_010)}, set(), 20), (10, set(), 150), (set(), 5, 80)],
    ids=["none", "ten neighbours", "ten anywhere", "five missed"],
)
def test_differences_among_a_million_are_found_with_few_requests(
    run: Runner, removed: set[int] | int, hidden: set[int] | int, most_requests: int
) -> None:
    million = range(1, 1_000_001)
    removed = removed if isinstance(removed, set) else {*Random(7).sample(million[:500_000], removed)}  # noqa: S311 (no secret)
    hidden = hidden if isinstance(hidden, set) else {*Random(7).sample(million[500_000:], hidden)}  # noqa: S311 (no secret)
    api = LargeApi()
    api.offer("id", "updated_at")
    api.ids = [key for key in million if key not in removed]
    known = KnownIds(million) - KnownIds(hidden)
    patients = {"replication_key_value": BOOKMARK, "known_ids": known.to_text()}
    with serving(api):
        output = run(state={"bookmarks": {"patients": patients}}, api_url=api.url)
    assert {*deleted(output)} == {*api.confirmed} == removed
    assert len(api.confirmed) == len(removed)
    assert {*output.ids} - removed == hidden
    assert len(api.pages) <= most_requests
