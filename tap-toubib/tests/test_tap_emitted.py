"""A run emits nothing again that the last one emitted unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tap_toubib import emitted
from tap_toubib.testing import LATER, TEXT, Api, Row, day, fill

from .conftest import Output, Runner, both_ways
from .test_tap_output import catalog

pytestmark = both_ways


def visits(output: Output) -> list[Any]:
    return [record["visits"] for record in output.records()]


@pytest.fixture
def patient(api: Api) -> Row:
    """A patient whose changes all carry one instant."""
    api.offer("id", "updated_at", visits={"type": "integer"})
    return api.add(1, visits=1)


@pytest.mark.parametrize("sortable", [("id", "updated_at"), ("updated_at",)], ids=str)
def test_run_with_nothing_to_do_emits_no_record(api: Api, run: Runner, sortable: tuple[str, ...]) -> None:
    api.offer(*sortable)
    fill(api, 20)
    api.add(21, updated_at="soon")
    api.rows.append({"id": None, "updated_at": None})
    config: Row = {"page_size": 5, "lookback_seconds": 10 * 86_400}
    state = run(**config).state
    for _ in range(3):
        output = run(state=state, **config)
        assert output.sync["records"] == output.sync["rejected"] == 0
        assert not output.records() + output.records("rejected_records")
        assert output.state != state
        state = output.state


def test_first_load_emits_a_rejected_record_of_its_look_back_once(api: Api, run: Runner) -> None:
    fill(api, 5)
    api.rows[4]["created_at"] = "soon"
    output = run()
    assert output.ids == [1, 2, 3, 4]
    assert [record["id"] for record in output.records("rejected_records")] == ["5"]
    assert output.sync["rejected"] == 1


def test_each_change_within_one_instant_is_emitted(run: Runner, patient: Row) -> None:
    output = run()
    seen = visits(output)
    for number in (2, 2, 1, 1, 2):
        patient["visits"] = number
        output = run(state=output.state)
        seen += visits(output)
    assert seen == [1, 2, 1, 2]


def test_record_that_is_rejected_in_between_is_emitted_before_and_after(run: Runner, patient: Row) -> None:
    output = run()
    patient["visits"] = "many"
    output = run(state=output.state)
    assert [record["id"] for record in output.records("rejected_records")] == ["1"]
    patient["visits"] = 1
    assert visits(run(state=output.state)) == [1]


def test_patient_that_returns_as_it_was_is_emitted_again(api: Api, run: Runner) -> None:
    fill(api, 9)
    state = run().state
    row = api.rows.pop()
    # its deletion is found after the run has seen it
    api.rows.append(row)
    api.before[len(api.pages) + 2] = lambda: api.rows.remove(row)
    output = run(state=state, max_deleted_percent=50)
    assert [record["id"] for record in output.records() if "_sdc_deleted_at" in record] == [9]
    api.rows.append(row)
    assert run(state=output.state).ids == [9]


def test_record_comes_again_with_a_new_column_or_another_selection(api: Api, run: Runner, patient: Row) -> None:
    state = run().state
    api.offer("id", "updated_at", visits={"type": "integer"}, email=TEXT)
    patient["email"] = "a@example.org"
    output = run(state=state)
    assert output.ids == [1]
    assert run(state=output.state, catalog=catalog(api, "patients.email")).records() == [
        {"id": 1, "created_at": day(1), "updated_at": day(1), "visits": 1}
    ]


def test_full_refresh_emits_everything(api: Api, run: Runner) -> None:
    fill(api, 5)
    assert run(state=run().state, full_refresh=True).ids == [1, 2, 3, 4, 5]


def test_state_keeps_digests_of_the_look_back_only(api: Api, run: Runner) -> None:
    fill(api, 9)
    output = run(lookback_seconds=2 * 86_400)
    assert output.patients["emitted"].keys() == {"7", "8", "9"}
    api.rows[0]["updated_at"] = LATER
    output = run(state=output.state, lookback_seconds=2 * 86_400)
    assert output.ids == [1]
    assert output.patients["emitted"].keys() == {"1"}


@pytest.mark.parametrize(("most", "again"), [(9, []), (8, [1, 2, 3, 4, 5, 6, 7, 8, 9])])
def test_more_records_than_a_state_keeps_are_emitted_again(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, most: int, again: list[int]
) -> None:
    monkeypatch.setattr(emitted, "MOST_DIGESTS", most)
    for key in range(1, 10):
        api.add(key, updated_at=day(1))
    output = run()
    assert ("emitted" in output.patients) == (not again)
    assert sorted(run(state=output.state).ids) == again
