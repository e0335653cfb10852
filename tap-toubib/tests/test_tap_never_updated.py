"""Patients whose `updated_at` is null until their first update."""

from __future__ import annotations

import pytest

from tap_toubib.testing import ANY_TIME, LATER, TEXT, Api, day, fill

from .conftest import Runner


@pytest.mark.parametrize("nulls_first", [True, False], ids=["nulls first", "nulls last"])
@pytest.mark.parametrize("page_size", [2, 3, 100])
def test_patients_without_an_update_are_found_by_their_creation(
    api: Api, run: Runner, page_size: int, *, nulls_first: bool
) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",), updated_at=ANY_TIME)
    api.nulls_first = nulls_first
    fill(api, 12)
    for row in api.rows[:8]:
        row["updated_at"] = None
    first = run(page_size=page_size)
    assert first.ids == list(range(1, 13))
    assert first.bookmark == day(12)
    api.add(13, updated_at=None)
    api.rows[1]["updated_at"] = LATER
    second = run(bookmark=first.bookmark, page_size=page_size)
    assert sorted(second.ids) == [2, 12, 13]


def test_search_ends_where_patients_without_an_update_begin(api: Api, run: Runner) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    fill(api, 12)
    for row in api.rows[:8]:
        row["updated_at"] = None
    run(bookmark=day(9), page_size=5)
    assert [query["sort_field"] for query in api.pages].count("updated_at") == 1


def test_patients_without_an_update_in_front_of_all_others_cost_few_requests(api: Api, run: Runner) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    api.nulls_first = True
    for key in range(1, 1001):
        api.add(key, created_at=day(1), updated_at=day(2) if key > 900 else None)
    api.rows[950]["updated_at"] = day(5)
    output = run(bookmark=day(4), page_size=10)
    assert output.ids == [951]
    assert output.sync["requests"] < 12


def test_patients_without_an_update_that_are_deleted_during_the_search_for_their_end_hide_no_other(
    api: Api, run: Runner
) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    api.nulls_first = True
    for key in range(1, 201):
        api.add(key, created_at=day(1), updated_at=day(5) if key > 150 else None)
    api.before[4] = lambda: api.rows.__delitem__(slice(0, 140))
    assert set(run(bookmark=day(4), page_size=10).ids) == set(range(151, 201))


def test_unloadable_record_where_the_instants_begin_does_not_hold_up_the_search(api: Api, run: Runner) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    api.nulls_first = True
    for key in range(1, 31):
        api.add(key, created_at=day(1), updated_at=day(key) if key > 20 else None)
    api.rows[29]["created_at"] = "soon"
    api.before[100] = api.fail
    assert set(run(bookmark=day(25), page_size=2).ids) == set(range(25, 30))


def test_run_over_patients_that_were_never_updated_leaves_a_bookmark(api: Api, run: Runner) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    for key in range(1, 6):
        api.add(key, updated_at=None)
    first = run(page_size=2)
    assert first.ids == [1, 2, 3, 4, 5]
    assert first.bookmark == day(5)
    api.add(6, updated_at=None)
    assert run(bookmark=first.bookmark, page_size=2).ids == [6, 5]


def test_api_without_instants_is_read_as_a_whole(api: Api, run: Runner) -> None:
    api.offer("id", "email", without=("created_at", "updated_at"), sex_at_birth=TEXT)
    api.rows = [{"id": key, "sex_at_birth": "FEMALE"} for key in range(1, 121)]
    output = run()
    assert output.ids == list(range(1, 121))
    assert {record["sex_at_birth"] for record in output.records()} == {"FEMALE"}
    assert output.bookmark is None
