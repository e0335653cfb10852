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
from pathlib import Path
from threading import Event

from cronsim import CronSim, CronSimError
from dateutil.tz import tzlocal

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.runs import append_run
from toubib_connector.settings import read_project

RUN = (str(Path(sys.executable).with_name("toubib-connector")), "run")
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
            schedule = f"the schedule {self.name} in meltano.yml"
            raise Failure(f"The interval {self.interval!r} of {schedule} is not one of a crontab: {error}") from error


def serve_schedules(destination: Destination, schedules: list[Schedule], command: tuple[str, ...] = RUN) -> None:
    """Run by schedules, one run at a time, until SIGTERM or SIGINT, which also ends the run under way.

    A run that is due during another schedule's run starts afterwards; during its own schedule's run, it is skipped.
    """
    stopped = Event()
    running: list[subprocess.Popen[bytes]] = []

    def stop(*_: object) -> None:
        stopped.set()
        for process in running:
            process.send_signal(signal.SIGTERM)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    now = read_clock()
    due = {each.name: next(each.list_instants(now)) for each in schedules}
    for each in schedules:
        say(f"Schedule {each.name} ({each.interval}) runs next on {due[each.name]:%A, %Y-%m-%d %H:%M %Z}")
    while not stopped.is_set():
        schedule = min(schedules, key=lambda each: due[each.name])
        at = due[schedule.name]
        now = read_clock()
        if now < at:
            # in short steps: the clock may be set, or the machine suspended
            stopped.wait(min((at - now).total_seconds(), 10))
            continue
        say(f"The run of {schedule.name} that was due at {at:%H:%M:%S} starts")
        # in a session of its own, so that Ctrl+C reaches the run once
        variables = {"DESTINATION_DUCKDB_PATH": str(destination.path), "TOUBIB_TRIGGER": schedule.name}
        process = subprocess.Popen(command, env=os.environ | schedule.environment | variables, start_new_session=True)
        running[:] = [process]
        exit_code = process.wait()
        if exit_code < 0:
            # the signal ended the run before it could record itself
            outcome = "stopped" if exit_code == -signal.SIGTERM else "failed"
            run = {"started_at": now, "ended_at": read_clock(), "outcome": outcome, "trigger": schedule.name}
            with suppress(OSError):
                append_run(destination, run | {"reason": f"Signal {-exit_code} ended it"})
        now = read_clock()
        if next(schedule.list_instants(at)) <= now:
            say(f"Runs of {schedule.name} that were due during this one are skipped", "warning")
        due[schedule.name] = next(schedule.list_instants(max(at, now)))


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
