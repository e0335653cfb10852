"""Runs that cannot work: they say why in one line, and leave the destination and its state as they were."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI, Response
from support import Destination, stand_in

from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def api_that_answers(status: int, *, healthy: bool) -> FastAPI:
    """An API whose every answer has one status, but for the health where that is asked for."""
    app = FastAPI(openapi_url=None)

    @app.get("/{path:path}")
    def answer(path: str) -> Response:
        if healthy and path == "health":
            return Response('"OK"', media_type="application/json")
        return Response('{"detail": "a secret"}', status, media_type="application/json")

    return app


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Destination:
    """A destination after a first run."""
    folder = tmp_path_factory.mktemp("loaded")
    destination = Destination(folder / "destination.duckdb")
    with stand_in(folder / "toubib.sqlite", 20) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
    return destination


@pytest.fixture(autouse=True)
def _untouched(loaded: Destination) -> Iterator[None]:
    """Data and state are, after each test, what they were before it."""
    before = contents(loaded)
    yield
    assert contents(loaded) == before


def contents(destination: Destination) -> tuple[bytes, list[tuple[str, str]]]:
    with closing(sqlite3.connect(f"{destination.path}.meltano.db")) as system_database:
        state = system_database.execute("select state_id, completed_state from state").fetchall()
    return destination.path.read_bytes(), state


def said(destination: Destination, api_url: str) -> str:
    """Return the line that a failed run ends with."""
    outcome = destination.make("run", api_url=api_url)
    assert outcome.returncode != 0
    assert "Traceback" not in outcome.stdout
    assert "a secret" not in outcome.stdout
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_api_that_is_down(loaded: Destination) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert said(loaded, url).startswith(f"Error: No answer from {url}/health")


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_service_that_is_not_a_healthy_toubib(loaded: Destination, status: int) -> None:
    with serving(api_that_answers(status, healthy=False)) as url:
        assert said(loaded, url).startswith(f"Error: {url}/health answered {status}")


@pytest.mark.parametrize("status", [401, 404])
def test_patients_that_cannot_be_read(loaded: Destination, status: int) -> None:
    with serving(api_that_answers(status, healthy=True)) as url:
        line = said(loaded, url)
    assert f"answered {status}" in line
    assert "check" in line


@pytest.mark.parametrize("name", ["raw.duckdb", "what?.duckdb"])
def test_a_file_name_that_the_parts_cannot_take(tmp_path: Path, name: str) -> None:
    with stand_in(tmp_path / "toubib.sqlite", 5) as api:
        assert "will not do" in said(Destination(tmp_path / name), api.url)


def test_an_address_that_is_none(loaded: Destination) -> None:
    assert "API_BASEURL" in said(loaded, "toubib")


def test_a_destination_that_is_no_duckdb_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database\n" * 1000)
    with stand_in(tmp_path / "toubib.sqlite", 5) as api:
        assert str(path) in said(Destination(path), api.url)
    assert path.read_text() == "no database\n" * 1000


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with stand_in(tmp_path / "toubib.sqlite", 5) as api:
        assert "DESTINATION_DUCKDB_PATH" in said(Destination(tmp_path / "file" / "x.duckdb"), api.url)
