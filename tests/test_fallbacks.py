"""APIs that can do less than the usual one: what a run can still promise, it keeps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support import Api, stand_in

from toubib_api.app import create_app
from toubib_api.database import prepare
from toubib_api.release import CURRENT, SEX_AT_BIRTH, Release
from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Destination

NO_ID, NO_UPDATED_AT = (
    Release(CURRENT.columns, tuple(field for field in CURRENT.sortable if field != missing))
    for missing in ("id", "updated_at")
)


@contextmanager
def undocumented(database: Path, patients: int) -> Iterator[Api]:
    """Serve the stand-in without its OpenAPI document."""
    prepare(database, CURRENT, patients)
    app = create_app(database)
    app.router.routes[:] = [route for route in app.routes if getattr(route, "path", "") != "/openapi.json"]
    with serving(app) as url:
        yield Api(url, database)


def contents(patients: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((patient["email"], patient["last_name"], str(patient["date_of_birth"])) for patient in patients)


@pytest.mark.parametrize(
    ("release", "kinds"),
    [
        (NO_ID, ["first_load", "changes"]),
        (NO_UPDATED_AT, ["full", "full"]),
        (SEX_AT_BIRTH, ["full", "full"]),
        (None, ["full", "full"]),
    ],
    ids=["id not sortable", "updated_at not sortable", "no updated_at", "no OpenAPI document"],
)
def test_a_change_arrives_in_the_next_run(
    tmp_path: Path, destination: Destination, release: Release | None, kinds: list[str]
) -> None:
    database = tmp_path / "toubib.sqlite"
    with undocumented(database, 230) if release is None else stand_in(database, 230, release) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
        assert contents(destination.rows("main.patients")) == contents(list(api.patients().values()))
        api.update(5, last_name="Changed")
        api.create(email="new@example.org", first_name="Zoë", last_name="Ny", date_of_birth="2001-02-03")
        outcome = destination.make("run", api_url=api.url)
        assert contents(destination.rows("main.patients")) == contents(list(api.patients().values()))
    assert "1 new, 1 changed, 0 deleted" in outcome.stdout
    assert destination.query("select kind from main.syncs order by started_at") == [(kind,) for kind in kinds]
