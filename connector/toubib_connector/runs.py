"""The runs of a destination: a line for each in `<file>.runs.jsonl`, which needs no lock.

| key | value |
|---|---|
| started_at, ended_at | instants |
| outcome | `succeeded`, `failed` or `stopped` |
| reason | why the run failed or was stopped, in one line without a patient's value; otherwise null |
| trigger | `manual`, or the name of the schedule |
| kind | `first_load`, `changes` or `full`; null where the run did not read to the end |
| read | patients read, if known |
| new, changed, deleted, returned, recovered | patients; null where nothing was built |
| rejected, requests | records that did not fit, requests to the API |
| patients | current patients after the run |
| tests | tests of the data that passed |
| seconds | of the whole run |
| steps | seconds of each step, by its name |
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure, fail_in_one_line

KEYS = (
    *("started_at", "ended_at", "outcome", "reason", "trigger", "kind", "read"),
    *("new", "changed", "deleted", "returned", "recovered"),
    *("rejected", "requests", "patients", "tests", "seconds", "steps"),
)


@contextmanager
def record_run(destination: Destination, trigger: str) -> Iterator[dict[str, Any]]:
    """Record how a run ends. Yields the run's line, to be filled.

    Raises:
        Failure: The run failed, in one line.
    """
    started = time.monotonic()
    run: dict[str, Any] = dict.fromkeys(KEYS)
    run |= {"started_at": datetime.now(UTC), "outcome": "succeeded", "trigger": trigger, "steps": {}}
    try:
        with fail_in_one_line():
            yield run
    except BaseException as error:
        run["outcome"] = "stopped" if isinstance(error, SystemExit | KeyboardInterrupt) else "failed"
        # an unforeseen exception can quote anything
        run["reason"] = run["reason"] or (error.message if isinstance(error, Failure) else type(error).__name__)
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
