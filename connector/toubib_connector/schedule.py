"""Runs by the schedules of meltano.yml, and how the last of them ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any

from cronsim import CronSim, CronSimError
from dateutil.tz import tzlocal

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.settings import read_project

RUN = (sys.executable, "-m", "toubib_connector", "run")


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

    def list_instants(self, now: datetime) -> Iterator[datetime]:
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


@dataclass
class Scheduler:
    """Runs by schedules, one run at a time, until SIGTERM or SIGINT.

    Attributes:
        destination: Where data and outcomes go.
        schedules: When.
        command: What.
    """

    destination: Destination
    schedules: list[Schedule]
    command: tuple[str, ...] = RUN
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _stopped: Event = field(default_factory=Event, init=False)

    def serve(self) -> None:
        """Run by schedule. A signal is passed on to the run under way, and ends this when that has ended."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        self.destination.work_folder.mkdir(parents=True, exist_ok=True)
        due = {each.name: next(each.list_instants(read_clock())) for each in self.schedules}
        for each in self.schedules:
            at = due[each.name]
            say(f"Schedule {each.name} ({each.interval}) runs next on {at:%A, %Y-%m-%d %H:%M %Z}")
        while not self._stopped.is_set():
            schedule = min(self.schedules, key=lambda each: due[each.name])
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
            self.command,
            env=os.environ
            | schedule.environment
            | {"DESTINATION_DUCKDB_PATH": str(self.destination.path), "TOUBIB_TRIGGER": schedule.name},
            start_new_session=True,
        )
        for at in schedule.list_instants(started_at):
            try:
                exit_code = process.wait(max((at - read_clock()).total_seconds(), 0))
                break
            except subprocess.TimeoutExpired:
                say(f"The last run is still under way; this one of {schedule.name} is skipped", "warning")
        self._process = None
        outcome = {
            "schedule": schedule.name,
            "started_at": started_at.astimezone(UTC).isoformat(),
            "ended_at": datetime.now(UTC).isoformat(),
            "exit_code": exit_code,
        }
        file = self.destination.outcome
        try:
            file.write_text(json.dumps(outcome))
        except OSError as error:
            say(f"Cannot write {self.destination.shown(file)}: {error.strerror}", "warning")
        return at


def read_outcome(destination: Destination) -> dict[str, Any]:
    """Return how the last scheduled run ended, nothing before the first has.

    `started_at` and `ended_at` are in UTC; `exit_code` is 0 if it went well, and negative if a signal killed it.

    Raises:
        Failure: It was not written to its end, on a full disk for instance.
    """
    try:
        return dict(json.loads(destination.outcome.read_text()))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(
            f"{destination.shown(destination.outcome)} is not whole; the next scheduled run writes it again."
        ) from error


def read_schedules(job: str) -> list[Schedule]:
    """Return the schedules of a job of meltano.yml that are due by themselves.

    Raises:
        Failure: It has none.
    """
    from meltano.core.schedule import CRON_INTERVALS  # noqa: PLC0415 (only where Meltano is installed)

    schedules = []
    for each in read_project().get("schedules") or ():
        interval = CRON_INTERVALS.get(each["interval"], each["interval"])
        if each.get("job") == job and interval:
            environment = {name: str(value) for name, value in (each.get("env") or {}).items()}
            schedules.append(Schedule(each["name"], interval, environment))
    if not schedules:
        raise Failure(f"meltano.yml has no schedule of the job {job}.")
    return schedules


def read_clock() -> datetime:
    """Return the time of the machine, in whatever form TZ has."""
    return datetime.now(tzlocal())
