"""Reading everything: at first, and on every run of an API that cannot sort by changes."""

from __future__ import annotations

import json

import pytest
from singer_sdk.exceptions import FatalAPIError

from tap_toubib.testing import LATER, TEXT, Api, Row, day, fill

from .conftest import Runner, both_ways

pytestmark = both_ways


@pytest.mark.parametrize("page_size", [2, 3, 6, 7, 100])
@pytest.mark.parametrize(
    "sortable", [("id", "updated_at"), ("created_at", "updated_at"), ("updated_at",), ("id",), ("last_name",), ()]
)
def test_first_load_holds_every_patient_exactly_once(
    api: Api, run: Runner, sortable: tuple[str, ...], page_size: int
) -> None:
    api.offer(*sortable)
    fill(api, 7)
    output = run(page_size=page_size)
    assert sorted(output.ids) == [1, 2, 3, 4, 5, 6, 7]
    assert output.bookmark == (day(7) if "updated_at" in sortable else None)


def test_row_pushed_off_a_full_last_page_after_the_total_was_counted_is_read(api: Api, run: Runner) -> None:
    api.offer("email", email=TEXT)
    for key, letter in enumerate("abcde", start=1):
        api.add(key, email=f"{letter}@example.org")
    page = json.dumps({"data": api.rows[:4], "meta": {"total_items": 4}}).encode()
    api.before[1] = lambda: api.fail(200, times=1, body=page)
    assert run(page_size=4).ids == [1, 2, 3, 4, 5]


def test_scan_that_is_thrown_back_to_its_first_page_for_ever_fails_the_run(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"created_at": day(1), "updated_at": day(1)}

    def page(query: dict[str, str]) -> Row:
        # the first page always differs, and the second is never contiguous
        first = len(api.pages) if query["offset"] == "0" else 10**6
        return {"data": [{"id": first + place, **patient} for place in range(5)], "meta": {"total_items": 50}}

    monkeypatch.setattr(api, "page", page)
    api.before[300] = api.fail
    with pytest.raises(FatalAPIError, match="pages are not contiguous"):
        run(page_size=5, max_parallel_requests=1)


@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("created_at", "updated_at"), ("updated_at",)])
@pytest.mark.parametrize("key", [1, 4, 5, 7])
def test_patient_updated_during_a_first_load_arrives_with_its_change_and_hides_no_other(
    api: Api, run: Runner, sortable: tuple[str, ...], key: int
) -> None:
    api.offer(*sortable)
    fill(api, 7)
    api.before[4] = lambda: api.rows[key - 1].update(updated_at=LATER)
    output = run(page_size=2)
    assert set(output.ids) == {1, 2, 3, 4, 5, 6, 7}
    assert LATER[:19] in {record["updated_at"][:19] for record in output.records() if record["id"] == key}
    assert output.bookmark == day(7)


def test_patient_changed_between_the_two_pages_that_show_it_arrives_as_it_is_now(api: Api, run: Runner) -> None:
    api.offer("id", visits={"type": "integer"})
    fill(api, 5)
    api.before[2] = lambda: api.rows[2].update(visits=7)
    output = run(page_size=3, max_parallel_requests=1)
    assert [(record["id"], record.get("visits")) for record in output.records()][2:4] == [(3, None), (3, 7)]


def test_first_load_of_an_empty_collection_leaves_no_bookmark(api: Api, run: Runner) -> None:
    output = run()
    assert output.ids == []
    assert output.bookmark is None
    assert "patients" in output.schemas
    api.add(1)
    assert run().ids == [1]


@pytest.mark.parametrize("start_date", ["2024-01-05", "2024-01-05T00:00:00Z", "2024-01-05T02:00:00+02:00"])
@pytest.mark.parametrize("bookmark", [None, day(2)], ids=["first load", "earlier bookmark"])
def test_start_date_leaves_out_patients_last_updated_before_it(
    api: Api, run: Runner, start_date: str, bookmark: str | None
) -> None:
    fill(api, 7)
    api.add(8, updated_at="2024-01-04T23:59:59Z")
    output = run(start_date=start_date, bookmark=bookmark, page_size=2)
    assert sorted(output.ids) == [5, 6, 7]
    assert output.bookmark == day(7)


@pytest.mark.parametrize(
    ("sortable", "nullable"), [(("id",), ()), (("last_name",), ()), (("id", "updated_at"), ("updated_at",))]
)
def test_api_that_cannot_sort_by_changes_is_read_as_a_whole_every_time(
    api: Api, run: Runner, sortable: tuple[str, ...], nullable: tuple[str, ...]
) -> None:
    api.offer(*sortable, nullable=nullable)
    fill(api, 5)
    for bookmark in (None, day(4)):
        output = run(bookmark=bookmark, page_size=2)
        assert output.ids == [1, 2, 3, 4, 5]
        assert output.sync["kind"] == "full"
        assert output.bookmark == bookmark
        [schema] = [each for each in output.messages if each["type"] == "SCHEMA" and each["stream"] == "patients"]
        assert "bookmark_properties" not in schema
