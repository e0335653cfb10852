from __future__ import annotations

from typing import TYPE_CHECKING

from tap_toubib import progress

if TYPE_CHECKING:
    import pytest

    from .conftest import Api, Runner


def test_progress_is_told_of_a_load_during_which_all_patients_vanish(
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
