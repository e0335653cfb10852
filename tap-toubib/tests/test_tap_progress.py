"""Progress that a run logs."""

from __future__ import annotations

import pytest

from tap_toubib import progress
from tap_toubib.testing import Api

from .conftest import Runner


def test_load_during_which_all_patients_are_deleted_logs_its_progress(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    caplog.set_level("INFO", logger="tap-toubib.patients")
    for patient in range(1, 10):
        api.add(patient)
    api.before[4] = api.rows.clear
    run(page_size=4, max_parallel_requests=1, max_deleted_percent=100)
    told = [record.getMessage() for record in caplog.records if "time left" in record.message]
    assert told[0].startswith("4 of 9 patients (44 %)")
    assert told[-1].endswith("time left: unknown")


def test_progress_is_logged_in_words_and_as_fields(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    caplog.set_level("INFO", logger="tap-toubib.patients")
    for patient in range(1, 10):
        api.add(patient)
    state = run(page_size=4).state
    load = [record for record in caplog.records if "time left" in record.message]
    assert [(vars(record)["done"], vars(record)["total"]) for record in load][-1] == (9, 9)
    assert all(vars(record)["rate"] >= 0 for record in load)
    caplog.clear()
    run(page_size=4, state=state, lookback_seconds=10 * 86_400)
    changes = [record for record in caplog.records if "changes read" in record.message]
    assert {vars(record)["total"] for record in changes} == {None}
    done = [vars(record)["done"] for record in changes]
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] <= 9
