"""Services that count, show or order their collection wrongly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from singer_sdk.exceptions import FatalAPIError

from tap_toubib.streams.patients import PatientsStream
from tap_toubib.testing import LATER, TEXT, Api, Row, day

from .conftest import Output, Runner

OLD = "2020-01-01T00:00:00Z"

random = Random(7)  # noqa: S311  # no secret

COUNTS: dict[str, Callable[[int], int]] = {
    "one too many": lambda patients: patients + 1,
    "one too few": lambda patients: max(patients - 1, 0),
    "far too many": lambda patients: patients * 3,
    "capped": lambda patients: min(patients, 150),
    "zero": lambda _: 0,
    "jumping": lambda patients: random.randrange(2 * patients + 1),
}
ORDERS = [("id", "updated_at"), ("email", "updated_at"), ("updated_at",), ("id",)]


@pytest.fixture(autouse=True)
def _frequent_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientsStream, "STATE_MSG_FREQUENCY", 5)


def load(api: Api, patients: int, *sortable: str) -> None:
    api.offer(*(sortable or ORDERS[0]), email=TEXT)
    for key in range(1, patients + 1):
        instant = day(1) if key == 1 else OLD
        api.add(key, created_at=OLD, updated_at=instant, email=f"{key:04}@example.org")


def deleted(output: Output) -> list[int]:
    return [record["id"] for record in output.records() if record.get("_sdc_deleted_at")]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("sortable", ORDERS, ids=str)
@pytest.mark.parametrize("largest_page", [100, 30])
def test_wrong_count_loses_no_patient_and_deletes_none(
    api: Api, run: Runner, count: str, sortable: tuple[str, ...], largest_page: int
) -> None:
    api.largest_page = largest_page
    api.count = COUNTS[count]
    load(api, 400, *sortable)
    first = run()
    assert {*first.ids} == {*range(1, 401)}
    api.rows[6]["updated_at"] = LATER
    api.rows.pop(200)
    api.requests.clear()
    second = run(state=first.state, full_refresh="id" not in sortable)
    assert 7 in second.ids
    assert deleted(second) == api.confirmed == [201]
    assert sortable != ORDERS[0] or len(api.pages) < 20
    assert not deleted(run(state=second.state))
    assert api.confirmed == [201]


@pytest.mark.parametrize("count", COUNTS)
def test_wrong_count_of_a_collection_of_any_size_loses_no_patient(api: Api, run: Runner, count: str) -> None:
    api.count = COUNTS[count]
    for patients in range(10):
        api.rows.clear()
        load(api, patients)
        first = run(page_size=4)
        assert {*first.ids} == {*range(1, patients + 1)}
        api.rows = api.rows[1:]
        assert deleted(run(state=first.state, page_size=4, max_deleted_percent=100)) == [1][:patients]


@pytest.mark.parametrize(("count", "said"), [("one too many", 21), ("one too few", 19), ("zero", 0)])
def test_wrong_count_costs_one_warning_a_run_and_a_few_requests(
    api: Api, run: Runner, caplog: pytest.LogCaptureFixture, count: str, said: int
) -> None:
    load(api, 20)

    def count_requests() -> list[int]:
        api.requests.clear()
        state = run(page_size=10).state
        first_load = len(api.pages)
        run(state=state, page_size=10)
        return [first_load, len(api.pages) - first_load]

    first_load, changes = count_requests()
    assert not warnings_of(caplog)
    api.count = COUNTS[count]
    miscounted = count_requests()
    warning = f"The API says that it has {said} patients, and its pages end after 20: what the pages show counts"
    assert warnings_of(caplog) == [warning] * 2
    assert miscounted[0] <= first_load + 4
    assert miscounted[1] <= changes + 2


def test_deletion_limit_holds_where_the_count_is_capped(api: Api, run: Runner) -> None:
    load(api, 400)
    api.count = COUNTS["capped"]
    state = run().state
    del api.rows[170:200]
    with pytest.raises(FatalAPIError, match="of 400 patients are not in the source any more"):
        run(state=state)
    assert not api.confirmed


@pytest.mark.parametrize("window", [20, 250, 240])
@pytest.mark.parametrize("sortable", ORDERS, ids=str)
def test_window_ends_a_first_load_soon_with_one_line_and_the_next_run_resumes(
    api: Api, run: Runner, window: int, sortable: tuple[str, ...]
) -> None:
    patients = 30 if window == 20 else 400
    load(api, patients, *sortable)
    api.window = window
    page_size = min(100, window // 2)
    expected = rf"^The API shows no patients at offset \d+, .*counts {patients}\).*kept$"
    with pytest.raises(FatalAPIError, match=expected):
        run(page_size=page_size)
    assert len(api.pages) <= 25
    shown = {*run.output.ids}
    assert len(shown) >= window - page_size
    state = run.output.state or {}
    assert "updated_at" not in sortable or ("checkpoint" in state["bookmarks"]["patients"]) == ("id" in sortable)
    api.window = 2**63
    assert shown | {*run(state=state, page_size=page_size).ids} == {*range(1, patients + 1)}


FAULTS: dict[str, tuple[Callable[[Api, Row], Row], str, int]] = {
    "ignores offset": (lambda _, query: query | {"offset": "0"}, "ignores `offset`", 20),
    "ignores order": (lambda _, query: {**query, "sort_field": ""}, "does not keep the order it was asked for", 3),
    "alternates": (lambda api, query: query | {"offset": str(len(api.pages) % 2)}, "not contiguous", 40),
    "single rows": (lambda _, query: query | {"limit": "1"}, "one patient a page", 40),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("created_at", "updated_at"), ("id",)], ids=str)
def test_service_that_cannot_be_read_ends_the_run_soon_with_one_line(
    api: Api, run: Runner, fault: str, sortable: tuple[str, ...]
) -> None:
    api.offer(*sortable)
    for key in range(1, 301):
        instant = f"2024-01-01T{key // 60:02}:{key % 60:02}:00Z"
        api.add(key, created_at=instant, updated_at=instant)
    random.shuffle(api.rows)
    rewrite, message, requests = FAULTS[fault]
    api.rewrite = partial(rewrite, api)
    with pytest.raises(FatalAPIError, match=message) as error:
        run(page_size=20)
    assert "\n" not in str(error.value)
    assert len(api.pages) <= requests


def test_service_that_shortens_pages_at_random_is_read(api: Api, run: Runner) -> None:
    load(api, 200)
    api.rewrite = lambda query: query | {"limit": str(random.randint(2, 20))}
    assert {*run(page_size=20).ids} == {*range(1, 201)}


def test_page_size_that_is_refused_is_named(api: Api, run: Runner) -> None:
    load(api, 3)
    api.before[1] = lambda: api.fail(413)
    with pytest.raises(FatalAPIError, match=r"answered 413 .*page_size \(TAP_TOUBIB_PAGE_SIZE\)"):
        run()
    assert len(api.pages) == 1


def test_service_that_sorts_instants_as_text_is_read(api: Api, run: Runner) -> None:
    api.offer("id", "updated_at")
    for key in range(1, 31):
        # as text, the later of two instants of one second comes first
        api.add(key, created_at=OLD, updated_at=f"2024-01-01T00:00:{key // 2:02}{'.5' if key % 2 else ''}Z")
    state = run(page_size=10).state
    assert {*run(state=state, page_size=10, full_refresh=True).ids} == {*range(1, 31)}
