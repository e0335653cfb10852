"""Runs by the schedules of meltano.yml."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

from cronsim import CronSim, CronSimError
from dateutil.tz import tzlocal

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.runs import append_run
from toubib_connector.settings import read_project

RUN = (sys.executable, "-m", "toubib_connector", "run")
JOBS = {"toubib", "toubib-full"}


@dataclass(frozen=True)
class Schedule:
    """When to run, and with which variables.

    Attributes:
        name: As in meltano.yml.
        interval: As in a crontab, in the time zone of the machine; with six fields the first one counts seconds.
        environment: Added to the environment of a run.
    """

    name: str
    interval: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def list_instants(self, now: datetime) -> Iterator[datetime]:
        """Return the instants of the schedule after `now`.

        Raises:
            Failure: The interval is invalid.
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

    A run that is due during another schedule's run starts afterwards; during its own schedule's run, it is skipped.

    Attributes:
        destination: The DuckDB file.
        schedules: At least one.
        command: Starts a run.
    """

    destination: Destination
    schedules: list[Schedule]
    command: tuple[str, ...] = RUN
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _stopped: Event = field(default_factory=Event, init=False)

    def serve(self) -> None:
        """Run by schedule until a signal. Pass the signal on to the run under way, and wait for its end."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        last_end = read_clock()
        due = {each.name: next(each.list_instants(last_end)) for each in self.schedules}
        for each in self.schedules:
            at = due[each.name]
            say(f"Schedule {each.name} ({each.interval}) runs next on {at:%A, %Y-%m-%d %H:%M %Z}")
        while not self._stopped.is_set():
            schedule = min(self.schedules, key=lambda each: due[each.name])
            at = due[schedule.name]
            # in short steps: the clock may be set, or the machine suspended
            wait = (at - read_clock()).total_seconds()
            if wait > 0:
                self._stopped.wait(min(wait, 10))
                continue
            if at < last_end:
                say(f"The run of {schedule.name} that was due at {at:%H:%M} starts now, after another one", "warning")
            self._run(schedule)
            last_end = read_clock()
            skipped = 0
            for instant in schedule.list_instants(at):
                due[schedule.name] = instant
                if instant > last_end:
                    break
                skipped += 1
            if skipped:
                say(f"Skipped, since a run was under way: {skipped} of the schedule {schedule.name}", "warning")

    def _stop(self, *_: object) -> None:
        self._stopped.set()
        if self._process:
            self._process.send_signal(signal.SIGTERM)

    def _run(self, schedule: Schedule) -> None:
        """Start a run, and wait for its end."""
        started_at = read_clock()
        # in a session of its own, so that Ctrl+C reaches the run once
        self._process = subprocess.Popen(
            self.command,
            env=os.environ
            | schedule.environment
            | {"DESTINATION_DUCKDB_PATH": str(self.destination.path), "TOUBIB_TRIGGER": schedule.name},
            start_new_session=True,
        )
        exit_code = self._process.wait()
        self._process = None
        if exit_code < 0:
            # the signal ended the run before it could record itself
            outcome = "stopped" if exit_code == -signal.SIGTERM else "failed"
            run = {"started_at": started_at, "ended_at": read_clock(), "outcome": outcome, "trigger": schedule.name}
            with suppress(OSError):
                append_run(self.destination, run | {"reason": f"Signal {-exit_code} ended it"})


def read_schedules() -> list[Schedule]:
    """Return the schedules of meltano.yml that have an interval.

    Raises:
        Failure: There is none.
    """
    from meltano.core.schedule import CRON_INTERVALS  # noqa: PLC0415 (only where Meltano is installed)

    schedules = []
    for each in read_project().get("schedules") or ():
        interval = CRON_INTERVALS.get(each["interval"], each["interval"])
        if each.get("job") in JOBS and interval:
            environment = {name: str(value) for name, value in (each.get("env") or {}).items()}
            schedules.append(Schedule(each["name"], interval, environment))
    if not schedules:
        raise Failure("meltano.yml has no schedule of the job toubib.")
    return schedules


def read_clock() -> datetime:
    """Return the local time; dateutil reads every form of TZ."""
    return datetime.now(tzlocal())
