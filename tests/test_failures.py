"""Runs that cannot work: they say why in one line, and leave the destination and its state as they were."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI, Response
from support import Destination, stand_in

from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.mark.parametrize("command", ["status", "report", "rebuild-history", "docs"])
def test_a_destination_that_does_not_exist(tmp_path: Path, command: str) -> None:
    path = tmp_path / "mistyped.duckdb"
    outcome = Destination(path).make(command)
    assert outcome.returncode != 0
    assert f"Error: There is no {path} yet. A run makes it." in outcome.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_a_destination_that_is_a_folder(tmp_path: Path) -> None:
    outcome = Destination(tmp_path).run("status")
    assert outcome.returncode == 1
    assert outcome.stdout.startswith("Error: Invalid value for '--destination' (env var: 'DESTINATION_DUCKDB_PATH'): ")
    assert "is a directory" in outcome.stdout


def test_a_state_that_cannot_be_read(loaded: Destination, tmp_path: Path) -> None:
    copy = loaded.copy(tmp_path / "patients.duckdb")
    state = Path(f"{copy.path}.meltano.db")
    state.write_text("no database\n" * 1000)
    with stand_in(tmp_path / "toubib.sqlite", 20) as api:
        assert f"Error: Cannot read {state}: file is not a database" in said(copy, api.url)
        state.unlink()
        assert "0 new, 0 changed, 0 deleted" in copy.make("run", api_url=api.url).stdout


def test_a_token_that_no_header_can_hold(loaded: Destination) -> None:
    with serving(api_that_answers(200, healthy=True)) as url:
        outcome = loaded.run("run", API_BASEURL=url, TAP_TOUBIB_AUTH_TOKEN="from a file\n")  # noqa: S106 (made up)
    assert outcome.stdout.splitlines()[-1].startswith("Error: TAP_TOUBIB_AUTH_TOKEN holds what no header can")


def test_a_setting_that_will_not_do(loaded: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_TOUBIB_PAGE_SIZE", "0")
    with serving(api_that_answers(200, healthy=True)) as url:
        assert said(loaded, url).endswith("0 is less than the minimum of 2 in config['page_size']")
        monkeypatch.setenv("TAP_TOUBIB_PAGE_SIZE", "many")
        assert said(loaded, url) == "Error: TAP_TOUBIB_PAGE_SIZE is 'many'; it must be an integer."


def test_a_health_that_is_busy_is_asked_again(loaded: Destination) -> None:
    app = FastAPI(openapi_url=None)
    answers = iter([429, 503, 200])

    @app.get("/{path:path}")
    def answer(path: str) -> Response:
        return Response('"OK"', next(answers) if path == "health" else 401)

    with serving(app) as url:
        assert "answered 401" in said(loaded, url)
    assert list(answers) == []


def test_what_was_loaded_from_another_api_is_not_mixed_with_the_bundled_one(loaded: Destination) -> None:
    outcome = loaded.make("run")
    assert outcome.returncode != 0
    assert f"Error: No API answers on localhost:8000. Start the one that {loaded.path} was loaded" in outcome.stdout


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with stand_in(tmp_path / "toubib.sqlite", 5) as api:
        assert "DESTINATION_DUCKDB_PATH" in said(Destination(tmp_path / "file" / "x.duckdb"), api.url)
