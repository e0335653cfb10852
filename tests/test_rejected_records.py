"""A record that the loader could not take is kept aside, told by its id, and holds nothing up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response

from toubib_api.testing import serving

if TYPE_CHECKING:
    from support import Destination

PATIENTS = [
    {"id": 1, "first_name": "Ada", "total_visits": 3},
    {"id": 2, "first_name": "Planted-Marker", "total_visits": 2**70},
    {"id": 3, "first_name": "Grace", "total_visits": 4},
]


def api_with_a_bad_record() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    def health() -> str:
        return "OK"

    @app.get("/openapi.json")
    def document() -> Response:
        return Response(status_code=404)

    @app.get("/v1/patients")
    def patients() -> dict[str, Any]:
        return {"data": PATIENTS, "meta": {"total_items": len(PATIENTS)}}

    return app


def test_a_record_that_fits_no_type_is_kept_aside(destination: Destination) -> None:
    with serving(api_with_a_bad_record()) as url:
        outcome = destination.make("run", api_url=url)
    assert outcome.returncode == 0, outcome.stdout
    *_, told, counted, summary = outcome.stdout.splitlines()
    assert told == "Warning: Could not be loaded, and is in raw.rejected_records: 2 (total_visits)"
    assert counted == "Warning: The source has 3 patients, the destination 2 living ones"
    assert summary.startswith("2 new, 0 changed, 0 deleted, 1 rejected; ")
    assert "Planted-Marker" not in outcome.stdout
    assert destination.query("select patient_id from main.patients order by 1") == [(1,), (3,)]
    [(patient_id, record)] = destination.query("select id, record from raw.rejected_records")
    assert patient_id == "2"
    assert "Planted-Marker" in record
