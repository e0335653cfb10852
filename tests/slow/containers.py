"""A user's steps in containers, from nothing, twice in a row. `make test-docker` runs this file."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest
from support import PROJECT, Destination, bundled_api, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API = "http://localhost:8000"
COMPOSE = ("docker", "compose", "--profile", "*")


@pytest.fixture
def nothing() -> Iterator[None]:
    """Begin without containers, images, networks and volumes, and leave none running."""
    run(*COMPOSE, "down", "--volumes", "--rmi", "all", "--remove-orphans")
    run("docker", "image", "rm", "--force", "toubib_connector")
    yield
    run(*COMPOSE, "down", "--volumes")


def make(destination: Destination, target: str, *variables: str, typed: str = "") -> str:
    settings = ["RUNNER=docker", f"DESTINATION_DUCKDB_PATH={destination.path}", *variables]
    outcome = run("make", target, *settings, typed=typed)
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


def docker(*arguments: str) -> str:
    outcome = run("docker", *arguments)
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout.strip()


@pytest.mark.parametrize("time", ["first", "second"])
@pytest.mark.usefixtures("nothing")
def test_the_steps_of_a_user_work_in_containers(time: str, tmp_path: Path) -> None:
    destination = Destination(tmp_path / f"{time} 'time'" / "patients.duckdb")
    make(destination, "build")
    listing = make(destination, "init-db")
    assert "Successfully connected to the destination DB." in listing
    assert "patients_history" in listing

    docker("compose", "up", "--detach", "--wait")
    printed = make(destination, "run").splitlines()
    assert printed[:2] == ["GET http://toubib:8000/health:", '"OK"']
    # the paths are the user's
    assert f"In {destination.path}" in printed
    assert destination.changes() == {"new": 1000}

    for patient_id in (3, 4):
        httpx.patch(f"{API}/v1/patients/{patient_id}", json={"last_name": "Changed"}).raise_for_status()
    make(destination, "run")
    assert destination.changes() == {"changed": 2}
    assert destination.runs()[-1]["requests"] == 3
    assert destination.query("""
        select patient_id, version_number, is_current, last_name = 'Changed' from main.patients_history
        where patient_id in (3, 4) order by all
    """) == [(3, 1, False, False), (3, 2, True, True), (4, 1, False, False), (4, 2, True, True)]

    make(destination, "change", "UPDATE=5", "CREATE=0", "REMOVE=2")
    # the bundled API that a command started ends with it
    docker("compose", "stop")
    assert "Starting the bundled API" in make(destination, "run")
    assert destination.changes() == {"changed": 5, "deleted": 2}
    assert docker("compose", "ps", "--services", "--status", "running") == ""

    assert "998 current patients" in make(destination, "status")
    query = "select count(*) from main.patients;"
    assert make(destination, "sql", typed=f".mode csv\n.headers off\n{query}\n") == "998\n"
    make(destination, "report")
    assert "<svg" in (destination.path.parent / "patients.report.html").read_text()


@pytest.mark.usefixtures("nothing")
def test_an_api_on_this_machine_and_settings_of_the_environment_and_dotenv(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    dotenv = PROJECT / ".env"
    dotenv.write_text("TAP_TOUBIB_PAGE_SIZE=10\n")
    try:
        with bundled_api(tmp_path / "toubib.sqlite", 50) as api:
            make(destination, "run", f"API_BASEURL={api.url}")
            assert destination.runs()[-1]["requests"] > 5
            make(destination, "run", f"API_BASEURL={api.url}", "TAP_TOUBIB_FULL_REFRESH=true")
            assert destination.runs()[-1]["kind"] == "full"
            outcome = run(
                "make", "run", "RUNNER=docker", f"API_BASEURL={api.url}", "DESTINATION_DUCKDB_PATH=md:patients"
            )
            assert "'md:patients' cannot be the path of the DuckDB file" in outcome.stdout
    finally:
        dotenv.unlink()


@pytest.mark.usefixtures("nothing")
def test_the_image_runs_commands_without_make(tmp_path: Path) -> None:
    docker("compose", "up", "--detach", "--wait")
    make(Destination(tmp_path / "unused.duckdb"), "build")
    data = tmp_path / "data"
    data.mkdir()
    shutil.chown(data, 1000, 1000)
    restricted = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--network=toubib_network", f"--volume={data}:/data"]

    # prints JSON lines, as the image's own user
    lines = docker("run", "--rm", *restricted, "--env=API_BASEURL=http://toubib:8000", "toubib_connector").splitlines()
    events = [json.loads(line) for line in lines]
    assert {"timestamp", "level", "logger", "event"} == set(events[0])
    assert events[1]["event"] == '"OK"'
    assert events[-1]["new"] == 1000
    assert {path.stat().st_uid for path in data.rglob("*")} == {1000}

    # a failed run exits with 1
    outcome = run("docker", "run", "--rm", *restricted, "--env=API_BASEURL=http://toubib:1", "toubib_connector")
    assert outcome.returncode == 1
    assert json.loads(outcome.stdout.splitlines()[-1])["level"] == "critical"

    # a signal ends a scheduler that is the first process of its container
    name = docker("run", "--detach", *restricted, "toubib_connector", "schedule")
    try:
        while "runs next on" not in docker("logs", name):
            assert docker("inspect", "--format={{.State.Running}}", name) == "true"
        docker("exec", name, "toubib-connector", "healthy")
        docker("stop", "--time=8", name)
        assert docker("inspect", "--format={{.State.ExitCode}}", name) == "0"
    finally:
        docker("rm", "--force", name)


def test_compose_shows_whether_the_scheduler_is_healthy() -> None:
    services = json.loads(docker("compose", "--profile", "scheduler", "config", "--format", "json"))["services"]
    assert services["scheduler"]["command"] == ["schedule"]
    assert services["scheduler"]["read_only"] is True
    assert "healthcheck" not in services["scheduler"], "the image's own is the one"
    assert "HEALTHCHECK" in (PROJECT / "Dockerfile").read_text()
