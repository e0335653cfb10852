"""APIs that can do less than the usual one: what a run can still promise, it keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tap_toubib.testing import Api, openapi, serving

if TYPE_CHECKING:
    from support import Destination

pytestmark = pytest.mark.complete
TEXT = {"type": "string"}
INSTANTS = ("created_at", "updated_at")
DOCUMENTS = {
    "id not sortable": (openapi("email", *INSTANTS, email=TEXT), ["first_load", "changes"]),
    "updated_at not sortable": (openapi("id", "email", email=TEXT), ["full", "full"]),
    "no updated_at": (openapi("id", "email", email=TEXT, without=INSTANTS), ["full", "full"]),
    "no OpenAPI document": (None, ["full", "full"]),
}


@pytest.mark.parametrize("offered", DOCUMENTS)
def test_a_change_arrives_in_the_next_run(destination: Destination, offered: str) -> None:
    document, kinds = DOCUMENTS[offered]
    api = Api(document=document)
    for key in range(1, 231):
        api.add(key, created_at="2024-01-01T00:00:00Z", updated_at="2024-01-01T00:00:00Z", email=f"{key}@example.org")

    def load() -> dict[str, int]:
        if document and "updated_at" not in document["components"]["schemas"]["Patient"]["properties"]:
            api.rows = [{"id": row["id"], "email": row["email"]} for row in api.rows]
        outcome = destination.run("run", API_BASEURL=api.url)
        assert outcome.returncode == 0, outcome.stdout
        emails = destination.query("select patient_id, email from main.patients order by patient_id")
        assert emails == [(row["id"], row["email"]) for row in api.rows]
        return destination.changes()

    with serving(api):
        load()
        now = datetime.now(UTC).isoformat()
        api.rows[4] |= {"updated_at": now, "email": "changed@example.org"}
        api.add(231, created_at=now, updated_at=now, email="new@example.org")
        assert load() == {"new": 1, "changed": 1}
    assert destination.query("select kind from main.syncs order by started_at") == [(kind,) for kind in kinds]
