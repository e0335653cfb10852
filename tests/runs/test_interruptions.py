"""Runs that are killed, stopped or out of disk space."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from support import Api, Destination, bundled_api, kill, wait_for

from toubib_api.app import create_app
from toubib_api.database import prepare
from toubib_api.testing import serving
from toubib_connector.destination import Destination as Writable
from toubib_connector.errors import Failure
from toubib_connector.meltano import read_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import Request, Response

pytestmark = pytest.mark.complete


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with bundled_api(tmp_path / "toubib.sqlite", 3_000) as running:
        yield running


def find_states(destination: Destination) -> list[dict[str, Any]]:
    # Meltano may be creating the system database
    with suppress(Failure):
        return list(read_states(Writable(destination.path)).values())
    return []


def find_checkpoint(destination: Destination) -> int:
    """Return how many patients an interrupted first load need not read again."""
    states = find_states(destination)
    return max((state["checkpoint"]["offset"] for state in states if "checkpoint" in state), default=0)


def wait_until(condition: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    """Wait until a condition holds, during a run."""

    def holds() -> bool:
        if condition():
            return True
        assert run.poll() is None, "the run ended too early"
        return False

    wait_for(holds)


def wait_for_the_end(destination: Destination, run: subprocess.Popen[bytes], pages: list[str]) -> None:
    """Wait until every process of a run has ended. What survives a kill can save another checkpoint before."""

    def has_ended() -> bool:
        pages.clear()
        return run.poll() is not None and not parts_of_runs(destination)

    wait_for(has_ended)
    pages.clear()


def holds_every_patient(destination: Destination, api: Api) -> bool:
    [(current, versions)] = destination.query(
        "select (select count(*) from main.patients), (select count(*) from main.patients_history)"
    )
    total: int = httpx.get(f"{api.url}/v1/patients", timeout=60).json()["meta"]["total_items"]
    return bool(current == versions == total)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_ends_at_once_and_says_what_it_keeps(
    destination: Destination, api: Api, tmp_path: Path, signum: signal.Signals
) -> None:
    printed = tmp_path / "printed"
    stopped = destination.start("run", output=printed, API_BASEURL=api.url)
    wait_until(lambda: any(find_states(destination)), stopped)
    stopped.send_signal(signum)
    assert stopped.wait(timeout=60) == 128 + signum
    assert parts_of_runs(destination) == []
    [run] = destination.runs()
    assert run["outcome"] == "stopped"
    assert re.fullmatch(r"Stopped: [\d,]+ patients were loaded and are kept; .*", run["reason"])
    assert run["reason"] in printed.read_text().splitlines()


def parts_of_runs(destination: Destination) -> list[str]:
    """Return the command lines of all processes that write to a destination."""
    found = []
    path = str(Writable(destination.path).path_for_tools)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TARGET_DUCKDB_FILEPATH") == path:
                found.append(" ".join([*process.cmdline(), ""]))
    return found


@contextmanager
def counting_pages(database: Path, limit: int) -> Iterator[tuple[Api, list[str]]]:
    """Serve the bundled API, and collect the queries of the requested pages; while there are more, none is answered."""
    app = create_app(database)
    pages: list[str] = []

    @app.middleware("http")
    async def count(request: Request, call_next: Any) -> Response:
        if request.url.path == "/v1/patients":
            pages.append(request.url.query)
            while len(pages) > limit:  # noqa: ASYNC110 (another thread clears them)
                await asyncio.sleep(0.01)
        response: Response = await call_next(request)
        return response

    with serving(app) as url:
        yield Api(url, database), pages


def test_after_each_of_six_kills_a_first_load_goes_on_from_its_checkpoint_and_loses_nothing(
    destination: Destination, tmp_path: Path
) -> None:
    patients = 20_000
    prepare(tmp_path / "toubib.sqlite", patients)
    # six times 30 pages are not the whole load
    with counting_pages(tmp_path / "toubib.sqlite", 30) as (api, pages):
        for number in range(6):
            before = find_checkpoint(destination)
            run = destination.start("run", API_BASEURL=api.url)
            wait_until(lambda: find_checkpoint(destination) > before, run)  # noqa: B023 (called at once)
            kill(run, ("", "/tap-toubib ", "/target-duckdb")[number % 3])
            offsets = re.findall(r"offset=(\d+)&limit=100&sort_field=id", str(pages))
            assert min(map(int, offsets)) == before
            wait_for_the_end(destination, run, pages)
            assert run.returncode != 0
    with bundled_api(tmp_path / "toubib.sqlite") as api:
        outcome = destination.run("run", API_BASEURL=api.url)
        assert outcome.returncode == 0, outcome.stdout
        assert holds_every_patient(destination, api)
    # the numbers of the whole load
    assert destination.changes() == {"new": patients}
    assert not Path(f"{destination.path}.work/scratch").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
@pytest.mark.parametrize("room", [300_000, 2_000_000, 4_000_000])
def test_a_disk_that_fills_during_a_load_is_reported_and_the_next_run_goes_on(tmp_path: Path, room: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=200m", "full", disk], check=True)
    try:
        destination = Destination(disk / "patients.duckdb")
        with bundled_api(tmp_path / "toubib.sqlite", 30_000) as api:
            assert destination.run("init-db").returncode == 0
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - room))
            outcome = destination.run("run", API_BASEURL=api.url)
            assert outcome.returncode == 1
            assert "No space left" in outcome.stdout.splitlines()[-1]
            assert "Traceback" not in outcome.stdout
            (disk / "filler").unlink()
            outcome = destination.run("run", API_BASEURL=api.url)
            assert outcome.returncode == 0, outcome.stdout
            assert holds_every_patient(destination, api)
    finally:
        subprocess.run(["/bin/umount", "--lazy", disk], check=True)


def test_an_incomplete_system_database_is_made_again(destination: Destination, api: Api) -> None:
    destination.path.parent.mkdir()
    with closing(sqlite3.connect(f"{destination.path}.meltano.db")) as half_made:
        half_made.execute("create table runs (id integer)")
    outcome = destination.make("run", api_url=api.url)
    assert outcome.returncode == 0, outcome.stdout
    assert holds_every_patient(destination, api)
