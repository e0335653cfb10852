"""Runs by the schedules of meltano.yml, and how the last of them ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_SCHEDULER_STARTED
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim

from toubib_connector.log import Failure, say
from toubib_connector.meltano import MELTANO, PROJECT

if TYPE_CHECKING:
    from toubib_connector.destination import Destination


@dataclass(frozen=True)
class Outcome:
    """How the last scheduled run ended.

    Attributes:
        schedule: Its name in meltano.yml.
        started_at: In UTC, as ISO 8601.
        ended_at: In UTC, as ISO 8601.
        exit_code: 0 if it went well; negative if a signal killed it.
    """

    schedule: str
    started_at: str
    ended_at: str
    exit_code: int


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires as cron does. APScheduler's own reading of a crontab begins the week on Monday."""

    def __init__(self, interval: str) -> None:
        """Keep the interval.

        Args:
            interval: The five fields of a crontab.
        """
        self._interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return when to fire next, in the time zone of the machine."""
        at: datetime = next(CronSim(self._interval, previous or now))
        return at

    def __str__(self) -> str:
        """Return the interval."""
        return self._interval


class Scheduler:
    """Runs the schedules of one job, one run at a time, until SIGTERM or SIGINT."""

    def __init__(self, destination: Destination, job: str) -> None:
        """Read the schedules.

        Args:
            destination: Where data and outcomes go.
            job: The job of meltano.yml that `toubib-connector run` runs.

        Raises:
            Failure: There is none, or meltano.yml cannot be read.
        """
        destination.work_folder.mkdir(parents=True, exist_ok=True)
        self._destination = destination
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        # one run at a time, whatever schedule it is of: the next one waits for its end
        self._scheduler = BlockingScheduler(executors={"default": {"type": "threadpool", "max_workers": 1}})
        schedules = [schedule for schedule in _schedules() if schedule["job"]["name"] == job]
        if not schedules:
            raise Failure(f"meltano.yml has no schedule of the job {job}.")
        for schedule in schedules:
            self._scheduler.add_job(
                self._run,
                CronTrigger(schedule["cron_interval"]),
                name=schedule["name"],
                args=[schedule["name"], schedule["env"]],
                misfire_grace_time=None,
            )

    def serve(self) -> None:
        """Run by schedule. A signal is passed on to the run under way, and ends this when that has ended."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.add_listener(_report_skipped, EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._begin, EVENT_SCHEDULER_STARTED)
        self._scheduler.start()

    def _begin(self, _: object) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        for job in self._scheduler.get_jobs():
            say(f"Schedule {job.name} ({job.trigger}) runs next on {job.next_run_time:%A, %Y-%m-%d %H:%M %Z}")

    def _stop(self, *_: object) -> None:
        # a run that waits for the end of this one would begin then
        self._is_stopping = True
        if self._process:
            self._process.send_signal(signal.SIGTERM)
        self._scheduler.shutdown(wait=False)

    def _run(self, schedule: str, environment: dict[str, str]) -> None:
        if self._is_stopping:
            return
        started_at = datetime.now(UTC)
        # with a terminal's Ctrl+C, too, the signal reaches the run once
        self._process = subprocess.Popen(
            [sys.executable, "-m", "toubib_connector", "run"],
            env=os.environ
            | environment
            | {"DESTINATION_DUCKDB_PATH": str(self._destination.path), "TOUBIB_TRIGGER": schedule},
            start_new_session=True,
        )
        exit_code = self._process.wait()
        self._process = None
        outcome = Outcome(schedule, started_at.isoformat(), datetime.now(UTC).isoformat(), exit_code)
        self._destination.outcome.write_text(json.dumps(asdict(outcome)))


def last_outcome(destination: Destination) -> Outcome | None:
    """Return how the last scheduled run ended; None before the first has."""
    if not destination.outcome.exists():
        return None
    return Outcome(**json.loads(destination.outcome.read_text()))


def _schedules() -> list[dict[str, Any]]:
    # Meltano wants a database even for this; that of the destination is its runs' own
    with TemporaryDirectory() as folder:
        listing = subprocess.run(
            [MELTANO, "--log-level=error", "schedule", "list", "--format=json"],
            check=False,
            cwd=PROJECT,
            env=os.environ | {"MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db"},
            stdout=subprocess.PIPE,
            text=True,
        )
    if listing.returncode:
        raise Failure("Meltano cannot list its schedules; its log above says why")
    return [schedule for schedule in json.loads(listing.stdout)["schedules"]["job"] if schedule["cron_interval"]]


def _report_skipped(_: object) -> None:
    say("The run before is still under way; this one is left out", "warning")
