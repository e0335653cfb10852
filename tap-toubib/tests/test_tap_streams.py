from __future__ import annotations

import json
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_toubib.tap import TapToubib

if TYPE_CHECKING:
    from .conftest import Api, Runner

LATER = "2024-02-01T00:00:00Z"
ANY_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
TEXT = {"type": "string"}


COLUMNS = "created_at,id,updated_at"


def day(number: int) -> str:
    return f"2024-01-{number:02}T00:00:00.000000Z"


def fill(api: Api, last: int) -> None:
    for key in range(1, last + 1):
        api.add(key)


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


# -- first load


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


def test_page_is_the_largest_that_the_api_documents(api: Api, run: Runner) -> None:
    run()
    assert {query["limit"] for query in api.pages} == {"100"}


def test_service_that_gives_less_than_asked_for_is_read_to_its_end(api: Api, run: Runner) -> None:
    api.largest_page = 2
    fill(api, 7)
    assert run(page_size=5).ids == [1, 2, 3, 4, 5, 6, 7]


def test_row_pushed_off_a_full_last_page_after_the_total_was_counted_is_read(api: Api, run: Runner) -> None:
    api.offer("email", email=TEXT)
    for key, letter in enumerate("abcde", start=1):
        api.add(key, email=f"{letter}@example.org")
    page = json.dumps({"data": api.rows[:4], "meta": {"total_items": 4}}).encode()
    api.before[1] = lambda: api.fail(200, times=1, body=page)
    assert run(page_size=4).ids == [1, 2, 3, 4, 5]


def test_service_that_gives_the_same_page_at_every_offset_fails_the_run(api: Api, run: Runner) -> None:
    fill(api, 5)
    page = json.dumps({"data": api.rows, "meta": {"total_items": 12}}).encode()
    api.before_each = lambda: api.fail(200, times=1, body=page)
    api.before[100] = api.fail
    with pytest.raises(FatalAPIError, match="pages do not join"):
        run(page_size=5)


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


def test_patient_created_during_a_first_load_arrives(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.before[5] = lambda: api.add(8)
    assert set(run(page_size=2).ids) == {1, 2, 3, 4, 5, 6, 7, 8}


def test_first_load_of_an_empty_collection_leaves_no_bookmark(api: Api, run: Runner) -> None:
    output = run()
    assert output.ids == []
    assert output.bookmark is None
    assert "patients" in output.schemas
    api.add(1)
    assert run().ids == [1]


@pytest.mark.parametrize("start_date", ["2024-01-05", "2024-01-05T00:00:00Z", "2024-01-05T02:00:00+02:00"])
@pytest.mark.parametrize("bookmark", [None, day(2)], ids=["first load", "earlier bookmark"])
def test_start_date_leaves_out_what_was_last_updated_before_it(
    api: Api, run: Runner, start_date: str, bookmark: str | None
) -> None:
    fill(api, 7)
    api.add(8, updated_at="2024-01-04T23:59:59Z")
    output = run(start_date=start_date, bookmark=bookmark, page_size=2)
    assert sorted(output.ids) == [5, 6, 7]
    assert output.bookmark == day(7)


def test_bookmark_matters_more_than_an_earlier_start_date(api: Api, run: Runner) -> None:
    fill(api, 7)
    assert run(bookmark=day(6), start_date="2024-01-02").ids == [7, 6]


# -- periodic run


def test_run_costs_one_page_when_nothing_changed(api: Api, run: Runner) -> None:
    fill(api, 20)
    output = run(bookmark=day(20), page_size=5)
    assert api.pages == [{"offset": "0", "limit": "5", "sort_field": "updated_at", "sort_dir": "desc"}]
    assert output.ids == [20]
    assert output.bookmark == day(20)


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


def test_what_changes_while_changes_are_read_arrives_now_or_in_the_next_run(api: Api, run: Runner) -> None:
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


@pytest.mark.parametrize("form", ["2024-01-03T00:00:00Z", "2024-01-03T00:00:00+00:00", "2024-01-03T01:00:00+01:00"])
def test_lookback_holds_for_a_bookmark_in_any_form(api: Api, run: Runner, form: str) -> None:
    api.add(1, updated_at="2024-01-02T23:59:30Z")
    assert run(bookmark=form).ids == [1]


@pytest.mark.parametrize("bookmark", [None, day(7)], ids=["first load", "periodic run"])
def test_bookmark_is_never_later_than_now(api: Api, run: Runner, bookmark: str | None) -> None:
    fill(api, 7)
    api.rows[2]["updated_at"] = "2999-01-01T00:00:00Z"
    before = datetime.now(UTC)
    output = run(bookmark=bookmark)
    assert output.bookmark
    assert before <= datetime.fromisoformat(output.bookmark) <= datetime.now(UTC)
    api.add(8, updated_at=datetime.now(UTC).isoformat())
    assert set(run(bookmark=output.bookmark).ids) == {3, 8}


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


def test_page_without_one_loadable_record_does_not_end_the_search(api: Api, run: Runner) -> None:
    fill(api, 12)
    for row in api.rows[6:10]:
        row["id"] = None
    output = run(bookmark=day(3), page_size=2)
    assert output.ids == [12, 11, 6, 5, 4, 3]
    assert len(output.records("rejected_records")) == 4


def test_page_that_begins_with_an_unloadable_record_must_join_too(api: Api, run: Runner) -> None:
    fill(api, 12)
    api.rows[7]["updated_at"] = "soon"
    api.before[3] = lambda: api.rows.__delitem__(slice(0, 3))
    shown = run(page_size=5, max_parallel_requests=1, max_deleted_percent=100).ids
    assert set(shown) == {*range(1, 13)} - {8}


# -- nullable updated_at


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


def test_patients_without_an_update_who_vanish_while_their_end_is_looked_for_hide_no_other(
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


def test_patients_without_an_update_who_come_while_their_end_is_looked_for_do_not_hold_up_the_search(
    api: Api, run: Runner
) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    api.nulls_first = True
    for key in range(1, 16):
        api.add(key, created_at=day(1), updated_at=None)

    def come() -> None:
        for key in range(16, 46):
            api.add(key, created_at=day(5), updated_at=None)

    api.before |= {2: come, 100: api.fail}
    assert set(run(bookmark=day(4), page_size=10).ids) == set(range(16, 46))


def test_patients_of_whom_none_was_ever_updated_leave_a_bookmark(api: Api, run: Runner) -> None:
    api.offer("id", "created_at", "updated_at", nullable=("updated_at",))
    for key in range(1, 6):
        api.add(key, updated_at=None)
    first = run(page_size=2)
    assert first.ids == [1, 2, 3, 4, 5]
    assert first.bookmark == day(5)
    api.add(6, updated_at=None)
    assert run(bookmark=first.bookmark, page_size=2).ids == [6, 5]


# -- an API that cannot tell changes


@pytest.mark.parametrize(
    ("sortable", "nullable"), [(("id",), ()), (("last_name",), ()), (("id", "updated_at"), ("updated_at",))]
)
def test_api_that_cannot_tell_changes_is_read_as_a_whole_every_time(
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


# -- what cannot be loaded


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


def test_very_long_record_is_written_in_parts(api: Api, run: Runner) -> None:
    api.offer("id", "updated_at", email=TEXT)
    api.add(1, email="é" * 90_000)
    api.add(2, email="x" * 480_000)
    output = run(page_size=2, bookmark=day(2), lookback_seconds=86_400)
    assert output.ids == [2]
    parts = output.records("rejected_records")
    assert [part["part"] for part in parts] == [1, 2]
    assert max(len(part["record"]) for part in parts) == 400_000
    assert json.loads("".join(part["record"] for part in parts)) == api.rows[0]


# -- the audit


def test_sync_tells_what_a_first_load_did(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.rows[1]["created_at"] = "soon"
    api.before[4] = lambda: api.add(8)
    begin = datetime.now(UTC)
    sync = run(page_size=3, max_parallel_requests=1).sync
    started, ended = (datetime.fromisoformat(sync.pop(name)) for name in ("started_at", "ended_at"))
    assert begin <= started <= ended <= datetime.now(UTC)
    assert sync == {
        "kind": "first_load",
        "columns": COLUMNS,
        "total_items_before": 7,
        "total_items_after": 8,
        "records": 8,
        "rejected": 1,
        "deleted": 0,
        "repaired": 0,
        "requests": 8,
        "bookmark_before": None,
        "bookmark_after": day(7),
    }


def test_sync_tells_what_a_periodic_run_did_and_counts_failed_requests(api: Api, run: Runner) -> None:
    fill(api, 7)
    api.before[1] = lambda: api.fail(503, times=2)
    sync = run(bookmark=day(5), page_size=10).sync
    del sync["started_at"], sync["ended_at"]
    assert sync == {
        "kind": "changes",
        "columns": COLUMNS,
        "total_items_before": 7,
        "total_items_after": 7,
        "records": 3,
        "rejected": 0,
        "deleted": 0,
        "repaired": 0,
        "requests": 3,
        "bookmark_before": day(5),
        "bookmark_after": day(7),
    }


def test_every_record_of_an_instant_fits_its_schema(api: Api, run: Runner) -> None:
    api.add(1)
    output = run()
    for stream, names in {"patients": ("created_at", "updated_at"), "syncs": ("started_at", "ended_at")}.items():
        [record] = output.records(stream)
        for name in names:
            assert output.schemas[stream]["properties"][name]["format"] == "date-time"
            assert len(record[name]) == len("2024-01-01T00:00:00.000000Z")
            assert record[name].endswith("Z")


# -- the catalog


def test_column_that_is_deselected_is_not_written(api: Api, run: Runner) -> None:
    api.offer("id", "updated_at", email=TEXT)
    api.add(1, email="a@example.org")
    output = run(catalog=catalog(api, "patients.email", "patients.created_at"))
    assert output.records() == [{"id": 1, "updated_at": day(1)}]
    assert output.schemas["patients"]["properties"].keys() == {"id", "updated_at", "_sdc_deleted_at"}


def test_column_that_an_older_catalog_does_not_know_is_in_no_record_without_being_in_the_schema(
    api: Api, run: Runner
) -> None:
    api.offer("id", "updated_at", email=TEXT)
    api.add(1, email="a@example.org")
    output = run(catalog=catalog(api, without="email"))
    assert output.records()[0].keys() | {"_sdc_deleted_at"} == output.schemas["patients"]["properties"].keys()


def test_deletions_are_not_written_when_their_column_is_deselected(api: Api, run: Runner) -> None:
    fill(api, 5)
    state = run().state
    del api.rows[2]
    output = run(state=state, catalog=catalog(api, "patients._sdc_deleted_at"))
    assert output.ids == [5]


@pytest.mark.parametrize("stream", ["rejected_records", "syncs"])
def test_stream_that_is_deselected_is_not_written(api: Api, run: Runner, stream: str) -> None:
    api.add(1)
    api.add(2, updated_at="soon")
    output = run(catalog=catalog(api, stream))
    assert output.ids == [1]
    assert stream not in {each.get("stream") for each in output.messages}


def test_nothing_is_written_when_patients_are_deselected(api: Api, run: Runner) -> None:
    api.add(1)
    output = run(catalog=catalog(api, "patients"))
    assert "patients" not in output.schemas
    assert not [each for each in output.messages if each["type"] == "RECORD"]


# -- failures


@pytest.mark.parametrize("bookmark", [None, day(2)], ids=["first load", "periodic run"])
@pytest.mark.parametrize("failing", [2, 3])
def test_run_that_fails_midway_leaves_the_bookmark_where_it_was(
    api: Api, run: Runner, failing: int, bookmark: str | None
) -> None:
    fill(api, 12)
    api.before[failing] = api.fail
    with pytest.raises(RetriableAPIError):
        run(bookmark=bookmark, page_size=3, max_parallel_requests=1)
    states = [each["value"]["bookmarks"]["patients"] for each in run.output.messages if each["type"] == "STATE"]
    given = {"replication_key": "updated_at", "replication_key_value": bookmark} if bookmark else {}
    assert all(state == given for state in states)
    assert not run.output.records("syncs")
    output = run(bookmark=bookmark, page_size=3)
    assert set(output.ids) == set(range(2 if bookmark else 1, 13))


def test_api_that_cannot_be_read_leaves_the_destination_untouched(api: Api, run: Runner) -> None:
    api.before[1] = lambda: api.fail(403, times=1)
    with pytest.raises(FatalAPIError):
        run()
    assert run.output.messages == []
