"""Runs by the schedules of meltano.yml, and how the last of them ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from cronsim import CronSim, CronSimError
from dateutil.tz import tzlocal

from toubib_connector.destination import Destination
from toubib_connector.log import Failure, say
from toubib_connector.settings import MELTANO, PROJECT, find_ignored

RUN = (sys.executable, "-m", "toubib_connector", "run")


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


@dataclass(frozen=True)
class Schedule:
    """When to run, and with which variables.

    Attributes:
        name: As in meltano.yml.
        interval: As in a crontab, in the time zone of the machine; with six fields the first one counts seconds.
        environment: Added to that of a run.
    """

    name: str
    interval: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def instants(self, now: datetime) -> Iterator[datetime]:
        """Return when to run after an instant.

        Raises:
            Failure: The interval is not one.
        """
        try:
            return CronSim(self.interval, now)
        except CronSimError as error:
            reason = (
                f"The interval {self.interval!r} of the schedule {self.name} in meltano.yml is not one of a crontab"
            )
            raise Failure(f"{reason}: {error}") from error


class Scheduler:
    """Runs by schedules, one run at a time, until SIGTERM or SIGINT."""

    def __init__(self, destination: Destination, schedules: list[Schedule], command: tuple[str, ...] = RUN) -> None:
        self._destination = destination
        self._schedules = schedules
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = Event()

    def serve(self) -> None:
        """Run by schedule. A signal is passed on to the run under way, and ends this when that has ended."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        self._destination.work_folder.mkdir(parents=True, exist_ok=True)
        due = {each.name: next(each.instants(read_clock())) for each in self._schedules}
        for each in self._schedules:
            at = due[each.name]
            say(f"Schedule {each.name} ({each.interval}) runs next on {at:%A, %Y-%m-%d %H:%M %Z}")
        while not self._stopped.is_set():
            schedule = min(self._schedules, key=lambda each: due[each.name])
            # in short steps: the clock of the machine may be set, or have stood still with it
            wait = (due[schedule.name] - read_clock()).total_seconds()
            if wait > 0:
                self._stopped.wait(min(wait, 10))
            else:
                due[schedule.name] = self._run(schedule)

    def _stop(self, *_: object) -> None:
        self._stopped.set()
        if self._process:
            self._process.send_signal(signal.SIGTERM)

    def _run(self, schedule: Schedule) -> datetime:
        """Run to the end, say what of the same schedule is skipped, and return when it is due next."""
        started_at = read_clock()
        # with a terminal's Ctrl+C, too, the signal reaches the run once
        self._process = process = subprocess.Popen(
            self._command,
            env=os.environ
            | schedule.environment
            | {"DESTINATION_DUCKDB_PATH": str(self._destination.path), "TOUBIB_TRIGGER": schedule.name},
            start_new_session=True,
        )
        for at in schedule.instants(started_at):
            try:
                exit_code = process.wait(max((at - read_clock()).total_seconds(), 0))
                break
            except subprocess.TimeoutExpired:
                say(f"The last run is still under way; this one of {schedule.name} is skipped", "warning")
        self._process = None
        instants = (started_at.astimezone(UTC).isoformat(), datetime.now(UTC).isoformat())
        outcome = Outcome(schedule.name, *instants, exit_code)
        try:
            self._destination.outcome.write_text(json.dumps(asdict(outcome)))
        except OSError as error:
            say(f"Cannot write {self._destination.shown(self._destination.outcome)}: {error.strerror}", "warning")
        return at


def last_outcome(destination: Destination) -> Outcome | None:
    """Return how the last scheduled run ended; None before the first has.

    Raises:
        Failure: It was not written to its end, on a full disk for instance.
    """
    if not destination.outcome.exists():
        return None
    try:
        return Outcome(**json.loads(destination.outcome.read_text()))
    except (ValueError, TypeError) as error:
        file = destination.shown(destination.outcome)
        raise Failure(f"{file} is not whole; the next scheduled run writes it again.") from error


def read_schedules(job: str) -> list[Schedule]:
    """Return the schedules of a job of meltano.yml.

    Raises:
        Failure: It has none, or Meltano cannot read it.
    """
    ignored = find_ignored(os.environ)
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    # Meltano wants a database even for this; that of the destination is its runs' own
    with TemporaryDirectory() as folder:
        listing = subprocess.run(
            [MELTANO, f"--env-file={os.devnull}", "schedule", "list", "--format=json"],
            check=False,
            cwd=PROJECT,
            env=environment | {"MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db"},
            capture_output=True,
            text=True,
        )
    if listing.returncode:
        raise Failure(f"Meltano cannot list the schedules of meltano.yml: {listing.stderr.strip().splitlines()[-1]}")
    listed: list[dict[str, Any]] = json.loads(listing.stdout)["schedules"]["job"]
    schedules = [
        Schedule(each["name"], each["cron_interval"], each["env"])
        for each in listed
        if each["job"]["name"] == job and each["cron_interval"]
    ]
    if not schedules:
        raise Failure(f"meltano.yml has no schedule of the job {job}.")
    return schedules


def read_clock() -> datetime:
    """Return the time of the machine, in whatever form TZ has."""
    return datetime.now(tzlocal())
