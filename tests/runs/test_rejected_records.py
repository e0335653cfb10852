"""A record that cannot be loaded is quarantined and named by its id, and does not stop the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI, Response

from toubib_api.testing import serving

if TYPE_CHECKING:
    from support import Destination

pytestmark = pytest.mark.complete
MARKER = "Planted-Marker"
LONG = '{"id": 11, "first_name": "%s' + "x" * 10_000_000 + '"}'
GOOD = ['{"id": 1, "first_name": "Ada", "total_visits": 3}', '{"id": 3, "first_name": "Grace", "unknown": [1]}']
BAD = {
    "lone surrogate": (r'{"id": 10, "first_name": "%s \ud800"}', "10"),
    "impossible date": ('{"id": 12, "date_of_birth": "2023-02-29", "first_name": "%s"}', "12 (date_of_birth)"),
    "impossible instant": ('{"id": 13, "updated_at": "2023-02-29T00:00:00", "email": "%s"}', "13 (updated_at)"),
    "boolean for an integer": ('{"id": 14, "total_visits": true, "email": "%s"}', "14 (total_visits)"),
    "2**70": ('{"id": 15, "total_visits": 1180591620717411303424, "email": "%s"}', "15 (total_visits)"),
    "no id": ('{"email": "%s"}', "without id (id)"),
    "no record": ('"%s"', "without id"),
}


def api_with_bad_records() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    def health() -> str:
        return "OK"

    @app.get("/openapi.json")
    def document() -> Response:
        return Response(status_code=404)

    @app.get("/v1/patients")
    def patients() -> Response:
        rows = [GOOD[0], LONG, *(text.replace("%s", MARKER) for text, _ in BAD.values()), GOOD[1]]
        body = f'{{"data": [{", ".join(rows)}], "meta": {{"total_items": {len(rows)}}}}}'
        return Response(body, media_type="application/json")

    return app


def test_records_that_fit_no_type_are_quarantined(destination: Destination) -> None:
    with serving(api_with_bad_records()) as url:
        outcome = destination.make("run", api_url=url)
    assert outcome.returncode == 0, outcome.stdout
    warnings = [line for line in outcome.stdout.splitlines() if line.startswith("Warning: ")]
    named = ", ".join(sorted(name for _, name in BAD.values()))
    assert f"Warning: Could not be loaded, and is in raw.rejected_records: {named}" in warnings
    assert "Warning: The source has 10 patients, the destination 3" in warnings
    assert destination.changes() == {"new": 3, "rejected": 7}
    assert MARKER not in outcome.stdout
    assert ", 7 rejected records\n" in destination.run("status").stdout
    assert destination.query("select patient_id from main.patients order by 1") == [(1,), (3,), (11,)]
    kept = destination.query("select record from raw.rejected_records")
    sent = [json.loads(text.replace("%s", MARKER)) for text, _ in BAD.values()]
    assert sorted(json.dumps(json.loads(text)) for (text,) in kept) == sorted(map(json.dumps, sent))
