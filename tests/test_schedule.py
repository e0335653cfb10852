"""Running by the schedules of meltano.yml, with other intervals than the hourly one."""

from __future__ import annotations

import json
import re
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Response
from support import PROJECT, Destination, stand_in

from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE_AND_A_BIT = 75
"""Seconds until something that happens each minute has happened."""


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., str]:
    """Make a project with other intervals, and return its folder for MELTANO_PROJECT_ROOT."""

    def with_intervals(hourly: str, weekly: str = "@yearly") -> str:
        folder = tmp_path / "project"
        folder.mkdir()
        for name in (".meltano", "connector", "requirements", "tap-toubib", "transform"):
            (folder / name).symlink_to(PROJECT / name)
        text = (PROJECT / "meltano.yml").read_text()
        for interval, other in (("@hourly", hourly), ("30 3 * * 0", weekly)):
            assert text.count(f'"{interval}"') == 1
            text = text.replace(f'"{interval}"', f'"{other}"')
        (folder / "meltano.yml").write_text(text)
        return str(folder)

    return with_intervals


def outcome(destination: Destination) -> dict[str, Any]:
    text = (destination.path.parent / f"{destination.path.name}.work" / "outcome.json").read_text()
    return dict(json.loads(text))


def wait_for(condition: Callable[[], Any], seconds: float) -> None:
    """Wait until something is so, for a time after which it will not be."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def api_that_never_answers_for_patients() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    def health() -> str:
        return "OK"

    @app.get("/v1/patients")
    def patients() -> Response:
        return Response(status_code=503, headers={"Retry-After": "200"})

    return app


def test_a_week_begins_on_sunday_as_in_cron(project: Callable[..., str], tmp_path: Path) -> None:
    destination = Destination(tmp_path / "weekly.duckdb")
    # its own database is none of the scheduler's business
    Path(f"{destination.path}.meltano.db").write_text("half made")
    printed = tmp_path / "printed"
    scheduler = destination.start("schedule", output=printed, MELTANO_PROJECT_ROOT=project("@weekly"))
    wait_for(lambda: re.search("Schedule hourly.*\n", printed.read_text()), 30)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=10) == 0
    found = re.search(
        r"^Schedule hourly \(0 0 \* \* 0\) runs next on (\w+), (\S+) 00:00 \w+$", printed.read_text(), re.MULTILINE
    )
    assert found
    assert found[1] == "Sunday"
    assert datetime.fromisoformat(found[2]).replace(tzinfo=UTC).weekday() == 6


def test_two_runs_each_minute_one_after_the_other(project: Callable[..., str], tmp_path: Path) -> None:
    destination = Destination(tmp_path / "some folder" / "minutely.duckdb")
    assert destination.run("healthy").returncode == 0
    with stand_in(tmp_path / "toubib.sqlite", 50) as api:
        both = project("* * * * *", "* * * * *")
        scheduler = destination.start("schedule", MELTANO_PROJECT_ROOT=both, API_BASEURL=api.url)
        wait_for(lambda: outcome(destination), MINUTE_AND_A_BIT + 45)
        first = outcome(destination)
        wait_for(lambda: outcome(destination)["schedule"] != first["schedule"], 45)
        scheduler.send_signal(signal.SIGTERM)
        assert scheduler.wait(timeout=30) == 0
    assert first["exit_code"] == outcome(destination)["exit_code"] == 0
    assert destination.run("healthy").returncode == 0
    assert destination.query("select count(*) from main.patients") == [(50,)]
    second = "full" if first["schedule"] == "hourly" else "changes"
    assert destination.query("select kind from main.syncs order by started_at limit 2") == [("first_load",), (second,)]


def test_a_run_is_left_out_while_one_is_under_way_and_a_signal_reaches_that(
    project: Callable[..., str], tmp_path: Path
) -> None:
    destination = Destination(tmp_path / "minutely.duckdb")
    printed = tmp_path / "printed"
    with serving(api_that_never_answers_for_patients()) as url:
        scheduler = destination.start(
            "schedule", output=printed, MELTANO_PROJECT_ROOT=project("* * * * *", "* * * * *"), API_BASEURL=url
        )
        wait_for(lambda: "still under way; this one is left out" in printed.read_text(), 2 * MINUTE_AND_A_BIT)
        scheduler.send_signal(signal.SIGTERM)
        assert scheduler.wait(timeout=30) == 0
        # nor did the run of the other schedule begin that waited for the end of this one
        assert printed.read_text().count("/health:") == 1
    assert outcome(destination)["exit_code"] == 128 + signal.SIGTERM
    sick = destination.run("healthy")
    assert sick.returncode == 1
    assert "with exit code 143" in sick.stdout
