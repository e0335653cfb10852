"""The steps that a user takes, in containers, twice in a row from nothing. `make test-docker` runs this file."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest
from support import PROJECT, Destination, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API = "http://localhost:8000"
COMPOSE = ("docker", "compose", "--profile", "*")
IMAGES = ("toubib_connector", "toubib_connector:report")


@pytest.fixture
def nothing() -> Iterator[None]:
    """Begin without containers, images, networks and volumes, and leave none running."""
    run(*COMPOSE, "down", "--volumes", "--rmi", "all", "--remove-orphans")
    run("docker", "image", "rm", "--force", *IMAGES)
    yield
    run(*COMPOSE, "down", "--volumes")


def make(destination: Destination, target: str) -> str:
    outcome = run("make", target, "RUNNER=docker", f"DESTINATION_DUCKDB_PATH={destination.path}")
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


def docker(*arguments: str) -> str:
    outcome = run("docker", *arguments)
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout.strip()


@pytest.mark.parametrize("time", ["first", "second"])
@pytest.mark.usefixtures("nothing")
def test_the_steps_of_a_user(time: str, tmp_path: Path) -> None:
    destination = Destination(tmp_path / time / "patients.duckdb")
    make(destination, "build")
    listing = make(destination, "init-db")
    assert "Successfully connected to the destination DB." in listing
    assert "patients_history" in listing

    docker("compose", "up", "--detach", "--wait")
    printed = make(destination, "run").splitlines()
    assert printed[:2] == ["GET http://toubib:8000/health:", '"OK"']
    assert printed[-1].startswith("1000 new, 0 changed, 0 deleted, 0 rejected; ")

    for patient_id in (3, 4):
        httpx.patch(f"{API}/v1/patients/{patient_id}", json={"last_name": "Changed"}).raise_for_status()
    printed = make(destination, "run").splitlines()
    assert printed[-1].startswith("0 new, 2 changed, 0 deleted, 0 rejected; 3 requests, ")
    assert destination.query("""
        select patient_id, version_number, is_current, last_name = 'Changed' from main.patients_history
        where patient_id in (3, 4) order by all
    """) == [(3, 1, False, False), (3, 2, True, True), (4, 1, False, False), (4, 2, True, True)]

    assert "1,000 current patients" in make(destination, "status")
    make(destination, "report")
    assert "<svg" in (destination.path.parent / "patients.report.html").read_text()


@pytest.mark.usefixtures("nothing")
def test_the_image(tmp_path: Path) -> None:
    docker("compose", "up", "--detach", "--wait")
    make(Destination(tmp_path / "unused.duckdb"), "build")
    data = tmp_path / "data"
    data.mkdir()
    shutil.chown(data, 1000, 1000)
    restricted = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--network=toubib_network", f"--volume={data}:/data"]

    # lines of JSON, as the image's own user
    lines = docker("run", "--rm", *restricted, "--env=API_BASEURL=http://toubib:8000", "toubib_connector").splitlines()
    events = [json.loads(line) for line in lines]
    assert {"timestamp", "level", "logger", "event"} == set(events[0]) == set(events[-1])
    assert events[1]["event"] == '"OK"'
    assert events[-1]["event"].startswith("1000 new, ")
    assert {path.stat().st_uid for path in data.rglob("*")} == {1000}

    # exit codes
    outcome = run("docker", "run", "--rm", *restricted, "--env=API_BASEURL=http://toubib:1", "toubib_connector")
    assert outcome.returncode == 1
    assert json.loads(outcome.stdout.splitlines()[-1])["level"] == "critical"

    # a signal to a scheduler that is the first process of its container
    name = docker("run", "--detach", *restricted, "toubib_connector", "schedule")
    try:
        while "runs next on" not in docker("logs", name):
            assert docker("inspect", "--format={{.State.Running}}", name) == "true"
        assert docker("exec", name, "toubib-connector", "healthy")
        docker("stop", "--time=8", name)
        assert docker("inspect", "--format={{.State.ExitCode}}", name) == "0"
    finally:
        docker("rm", "--force", name)


def test_the_scheduler_of_compose_is_told_to_be_healthy_or_not() -> None:
    services = json.loads(docker("compose", "--profile", "scheduler", "config", "--format", "json"))["services"]
    assert services["scheduler"]["command"] == ["schedule"]
    assert services["scheduler"]["read_only"] is True
    assert "healthcheck" not in services["scheduler"], "the image's own is the one"
    assert "HEALTHCHECK" in (PROJECT / "Dockerfile").read_text()
