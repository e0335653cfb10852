"""Progress that a run logs."""

from __future__ import annotations

import pytest

from tap_toubib import extraction
from tap_toubib.testing import Api, fill

from .conftest import Runner


def test_progress_is_logged_in_words_and_as_fields(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extraction, "PROGRESS_INTERVAL", 0)
    caplog.set_level("INFO", logger="tap-toubib.patients")
    fill(api, 9)
    state = run(page_size=4).state
    load = [record for record in caplog.records if "patients (" in record.message]
    assert load[0].message.startswith("4 of 9 patients (44 %) read, ")
    assert [(vars(record)["done"], vars(record)["total"]) for record in load][-1] == (9, 9)
    assert all(vars(record)["rate"] >= 0 for record in load)
    caplog.clear()
    run(page_size=4, state=state, lookback_seconds=10 * 86_400)
    changes = [record for record in caplog.records if "changes read" in record.message]
    assert {vars(record)["total"] for record in changes} == {None}
    done = [vars(record)["done"] for record in changes]
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] <= 9
