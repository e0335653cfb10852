"""The runs of a destination: a line for each in `<file>.runs.jsonl`, which needs no lock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure, fail_in_one_line
from toubib_connector.log import say

CHANGES = ("new", "changed", "deleted", "returned", "recovered")
"""Kinds of changes to patients."""

KEYS = (
    *("started_at", "ended_at", "seconds"),
    "outcome",  # succeeded, failed or stopped
    "reason",  # of a failure, in one line without a patient's value
    "trigger",  # manual, or the name of the schedule
    "kind",  # first_load, changes or full
    *("read", *CHANGES, "patients"),  # numbers of patients; the last one is of current ones after the run
    *("rejected", "requests", "tests"),  # records that did not fit, requests to the API, data tests that passed
)
"""Of a line. What a run did not come to is null."""


@contextmanager
def record_run(destination: Destination, trigger: str) -> Iterator[dict[str, Any]]:
    """Record how a run ends. Yields the run's line, to be filled.

    Raises:
        Failure: The run failed, in one line.
    """
    started = time.monotonic()
    run: dict[str, Any] = dict.fromkeys(KEYS)
    run |= {"started_at": datetime.now(UTC), "outcome": "succeeded", "trigger": trigger}
    try:
        with fail_in_one_line():
            yield run
    except SystemExit:
        run |= {"outcome": "stopped", "reason": "Stopped: what was loaded is kept; the next run goes on from there"}
        say(run["reason"], "warning")
        raise
    except Exception as error:
        # an unforeseen exception can quote anything
        run |= {"outcome": "failed", "reason": error.message if isinstance(error, Failure) else type(error).__name__}
        raise
    finally:
        run |= {"ended_at": datetime.now(UTC), "seconds": round(time.monotonic() - started, 1)}
        # the cause of a failure, such as a full disk, can also prevent its record
        with suppress(OSError):
            append_run(destination, run)


def append_run(destination: Destination, run: dict[str, Any]) -> None:
    """Append the line of a run.

    Raises:
        OSError: There is no folder, or no room.
    """
    # the line break comes first: a full disk may have cut the previous line short
    line = "\n" + json.dumps(run, default=datetime.isoformat)
    with destination.runs.open("a", encoding="utf-8") as file:
        file.write(line)


def read_runs(destination: Destination, limit: int) -> list[dict[str, Any]]:
    """Return the last runs, newest first. Incomplete lines are skipped."""
    runs: list[dict[str, Any]] = []
    lines = destination.runs.read_text(encoding="utf-8").splitlines() if destination.runs.exists() else []
    for line in reversed(lines):
        if len(runs) == limit:
            break
        try:
            run = json.loads(line)
            run |= {name: datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at")}
        except (ValueError, LookupError, TypeError):
            continue
        runs.append(dict.fromkeys(KEYS) | run)
    return runs
