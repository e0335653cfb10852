"""Reading changes since the bookmark."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Any

import pytest

from tap_toubib.testing import LATER, Api, day, fill

from .conftest import Runner, both_ways

pytestmark = both_ways


@pytest.mark.parametrize("parallel", [1, 2, 4, 8])
@pytest.mark.parametrize("patients", [0, 1, 9, 10, 11, 250])
def test_first_load_costs_its_pages(api: Api, run: Runner, patients: int, parallel: int) -> None:
    for key in range(1, patients + 1):
        api.add(key, created_at=day(1), updated_at=f"2024-01-02T00:{key // 60:02}:{key % 60:02}Z")
    assert len(run(page_size=10, max_parallel_requests=parallel).ids) == patients
    assert len(api.pages) <= ceil(patients / 9) + 4


@pytest.mark.parametrize("parallel", [1, 2, 4, 8])
@pytest.mark.parametrize("changes", [0, 1, 7, 8, 9, 10, 100])
def test_periodic_run_costs_the_pages_of_its_changes(api: Api, run: Runner, changes: int, parallel: int) -> None:
    for key in range(250):
        instant = f"2024-01-{1 + (key >= 250 - changes):02}T{key // 60:02}:{key % 60:02}:00Z"
        api.add(key, created_at=day(1), updated_at=instant)
    output = run(page_size=10, max_parallel_requests=parallel, bookmark=day(2), lookback_seconds=0)
    assert len(output.ids) == changes
    assert len(api.pages) <= ceil(changes / 8) + 2


def test_updated_and_created_patients_arrive_newest_first(api: Api, run: Runner) -> None:
    fill(api, 20)
    api.rows[3]["updated_at"] = LATER
    output = run(bookmark=day(15), page_size=5, max_parallel_requests=1)
    assert output.ids == [4, 20, 19, 18, 17, 16, 15]
    assert [page["offset"] for page in api.pages] == ["0", "3"]
    assert output.bookmark == "2024-02-01T00:00:00.000000Z"


def test_change_during_a_run_arrives_in_it_or_in_the_next_one(api: Api, run: Runner) -> None:
    fill(api, 9)
    api.before[2] = lambda: api.rows[0].update(updated_at=LATER)
    first = run(bookmark=day(4), page_size=2)
    assert {5, 6, 7, 8, 9} <= set(first.ids)
    assert run(bookmark=first.bookmark).ids == [1, 9]


@pytest.mark.parametrize(
    ("setting", "found"),
    [({}, True), ({"lookback_seconds": 30}, True), ({"lookback_seconds": 29}, False), ({"lookback_seconds": 0}, False)],
    ids=str,
)
def test_change_committed_late_is_found_within_the_lookback(
    api: Api, run: Runner, setting: dict[str, Any], *, found: bool
) -> None:
    api.add(1, updated_at="2024-01-02T23:59:30Z")
    api.add(3)
    output = run(bookmark=day(3), **setting)
    assert output.ids == ([3, 1] if found else [3])


@pytest.mark.parametrize("bookmark", [None, day(7)], ids=["first load", "periodic run"])
def test_a_change_in_the_future_does_not_move_the_bookmark(api: Api, run: Runner, bookmark: str | None) -> None:
    fill(api, 7)
    api.rows[2]["updated_at"] = "2999-01-01T00:00:00Z"
    output = run(bookmark=bookmark)
    assert output.bookmark == day(7)
    # changed by a clock that is far behind this one
    api.add(8, updated_at="2024-01-07T01:00:00Z")
    assert set(run(bookmark=output.bookmark).ids) == {3, 7, 8}


def test_bookmark_is_never_later_than_now(api: Api, run: Runner) -> None:
    api.add(1, updated_at="2999-01-01T00:00:00Z")
    before = datetime.now(UTC)
    output = run()
    assert output.bookmark
    assert before <= datetime.fromisoformat(output.bookmark) <= datetime.now(UTC)


@pytest.mark.parametrize("shuffled", [False, True])
def test_patients_changed_at_one_instant_are_all_read(api: Api, run: Runner, *, shuffled: bool) -> None:
    api.shuffled = shuffled
    for patient in range(1, 81):
        api.add(patient, created_at=day(1), updated_at=day(5) if patient > 20 else day(1))
    output = run(bookmark=day(3), page_size=10)
    assert set(output.ids) == set(range(21, 81))


def test_patients_of_one_instant_that_change_places_at_a_boundary_are_all_read(api: Api, run: Runner) -> None:
    api.offer("created_at")
    fill(api, 9)
    api.rows[4]["created_at"] = api.rows[3]["created_at"]

    def pull_the_one_across_and_push_the_other_back() -> None:
        api.rows[:5] = [api.rows[2], api.rows[4], api.rows[3]]

    api.before[2] = pull_the_one_across_and_push_the_other_back
    assert set(run(page_size=4, max_parallel_requests=1).ids) == set(range(1, 10))


def test_all_patients_of_the_instant_of_the_bookmark_are_read_again_where_nothing_before_it_is(
    api: Api, run: Runner
) -> None:
    for key in range(1, 31):
        api.add(key, created_at=day(1), updated_at=day(5) if key > 10 else day(1))
    output = run(bookmark=day(5), lookback_seconds=0, page_size=8)
    assert {*output.ids} == {*range(11, 31)}


def test_page_of_rejected_records_only_does_not_end_the_search(api: Api, run: Runner) -> None:
    fill(api, 12)
    for row in api.rows[6:10]:
        row["id"] = None
    output = run(bookmark=day(3), page_size=2)
    assert output.ids == [12, 11, 6, 5, 4, 3]
    assert len(output.records("rejected_records")) == 4


@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("updated_at",)], ids=str)
def test_many_pages_of_rejected_records_only_do_not_end_a_first_load(
    api: Api, run: Runner, sortable: tuple[str, ...]
) -> None:
    api.offer(*sortable)
    for key in range(1, 101):
        api.add(key, created_at="soon" if key < 99 else day(1), updated_at=day(1))
    output = run(page_size=4)
    assert {*output.ids} == {99, 100}
    assert {record["id"] for record in output.records("rejected_records")} == {str(key) for key in range(1, 99)}


def test_page_that_begins_with_a_rejected_record_must_be_contiguous_too(api: Api, run: Runner) -> None:
    fill(api, 12)
    api.rows[7]["updated_at"] = "soon"
    api.before[3] = lambda: api.rows.__delitem__(slice(0, 3))
    shown = run(page_size=5, max_parallel_requests=1, max_deleted_percent=100).ids
    assert set(shown) == {*range(1, 13)} - {8}
