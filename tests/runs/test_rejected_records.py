"""A record that cannot be loaded is quarantined and named by its id, does not stop the run and is quoted nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from story import MARKER, TALKATIVE, find_leaks

from tap_toubib.testing import Api, serving

if TYPE_CHECKING:
    from support import Destination

LONG = {"id": 11, "first_name": MARKER + "x" * 10_000_000}
GOOD = [{"id": 1, "first_name": "Ada", "total_visits": 3}, {"id": 3, "first_name": "Grace", "unknown": [1]}]
BAD = {
    "10": {"id": 10, "first_name": f"{MARKER} \ud800"},
    "12 (date_of_birth)": {"id": 12, "date_of_birth": "2023-02-29", "first_name": MARKER},
    "13 (updated_at)": {"id": 13, "updated_at": MARKER},
    "14 (total_visits)": {"id": 14, "total_visits": True, "email": MARKER},
    "15 (total_visits)": {"id": 15, "total_visits": 2**70, "email": MARKER},
    "16 (email)": {"id": 16, "email": {"nested": MARKER}},
    # an invalid id can hold anything
    "without id (id)": {"id": MARKER},
    "without id": MARKER,
}


@pytest.mark.complete
def test_records_that_fit_no_type_are_quarantined(destination: Destination) -> None:
    api = Api(document={})
    page = {"data": [GOOD[0], LONG, *BAD.values(), GOOD[1]], "meta": {"total_items": 11}}
    api.before_each = lambda: api.fail(200, times=1, body=json.dumps(page).encode())
    with serving(api):
        outcome = destination.run("run", API_BASEURL=api.url, **TALKATIVE)
    assert outcome.returncode == 0, outcome.stdout
    warnings = [line for line in outcome.stdout.splitlines() if line.startswith("Warning: ")]
    assert f"Warning: Could not be loaded, and is in raw.rejected_records: {', '.join(sorted(BAD))}" in warnings
    assert "Warning: The source has 11 patients, the destination 3" in warnings
    assert destination.changes() == {"new": 3, "rejected": 8}
    assert find_leaks(destination, outcome.stdout) == []
    assert ", 8 rejected records\n" in destination.run("status").stdout
    assert destination.query("select patient_id from main.patients order by 1") == [(1,), (3,), (11,)]
    kept = destination.query("select record from raw.rejected_records")
    assert sorted(json.dumps(json.loads(text)) for (text,) in kept) == sorted(map(json.dumps, BAD.values()))
