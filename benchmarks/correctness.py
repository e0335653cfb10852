"""Measure what is lost or changed: by changes during a first load, failing requests, a kill, and unusual values.

Every contender reads a scripted API that does the same at the same page.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
from contenders import CONTENDERS, Contender
from fast_api import OPENAPI, make_patients
from runs import PAGE_SIZE
from session import Bench

from tap_toubib.testing import Answer, Api, serving

Loss = tuple[str, str, int, int]
"""The kind of loss, in which test, how often, and of how many."""

LOST = "patients lost"
DOUBLED = "patients doubled"
UNDELETED = "deletions missed"
REFUSED = "starts refused"
ALTERED = "values altered"
FAILED = "runs failed"

CHANGING = 2_000
EVERY, TIMES, UPDATES, REMOVALS = 4, 4, 20, 5
"""A collection of 2,000; with every fourth page, four times, 20 patients change and 5 disappear."""

SEEDS = 3
KILLED = 20_000
FAULTS = 0.05
"""The share of pages that fails."""

PATIENCE = 600
"""Seconds after a kill in which a load may refuse to start."""

# names that a careless loader takes for something else
UNUSUAL = ["", " ", "NULL", "null", "None", "nan", "\\N", '"', "'", '""', ",", ";", "\\", "a\r\nb", "a\tb", "\u2028"]
UNUSUAL += ["😀", "0012", "1e5", "2024-01-01", "true", "{}", "  padded  ", "e\u0301"]


def correctness(bench: Bench) -> None:
    """Count what each contender loses or changes."""
    for patients, tests in ((CHANGING, [changes_during_load] * SEEDS + [faults, values]), (KILLED, [kill])):
        rows = msgspec.json.encode(list(make_patients(patients)))
        for contender in CONTENDERS:
            for seed, test in enumerate(tests):
                folder = bench.destination(contender, patients)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                api = Api(rows=json.loads(rows), document=OPENAPI)
                with serving(api):
                    for kind, detail, count, whole in test(contender, api, folder, Random(seed)):  # noqa: S311 (no secret)
                        bench.record(kind=kind, detail=detail, contender=contender.name, count=count, whole=whole)


def load(contender: Contender, api: Api, folder: Path) -> Loss:
    """Load, and return whether that failed."""
    return FAILED, "", int(contender.load(api.url, folder).exit_code != 0), 1


def changes_during_load(contender: Contender, api: Api, folder: Path, random: Random) -> Iterator[Loss]:
    """Change and remove patients during a first load, remove some more after it, and load again."""
    updated: set[int] = set()
    removed: set[int] = set()

    def change(updates: int) -> None:
        chosen = random.sample(range(len(api.rows)), updates + REMOVALS)
        for place in chosen[REMOVALS:]:
            row = api.rows[place]
            row |= {"total_visits": row["total_visits"] + 1, "updated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
            updated.add(row["id"])
        removed.update(api.rows[place]["id"] for place in chosen[:REMOVALS])
        api.rows[:] = [row for row in api.rows if row["id"] not in removed]

    def change_at_page() -> None:
        number = len(api.pages)
        if number % EVERY == 0 and number <= EVERY * TIMES:
            change(UPDATES)

    api.before_each = change_at_page
    yield load(contender, api, folder)
    api.before_each = lambda: None
    removed_during = {*removed}
    change(0)
    yield load(contender, api, folder)
    rows = contender.query(folder, "select id, max(changed_at), count(*) from held group by id")
    newest = {patient: at for patient, at, _ in rows}
    current = {row["id"]: row["updated_at"].replace("T", " ").rstrip("Z") for row in api.rows}
    unseen = {patient for patient, at in current.items() if newest.get(patient, "") < at}
    updated -= removed
    yield LOST, "changed during a first load", len(unseen & updated), len(updated)
    yield LOST, "unchanged during a first load", len(unseen - updated), len(current) - len(updated)
    yield UNDELETED, "during a first load", len(newest.keys() & removed_during), len(removed_during)
    removed_later = removed - removed_during
    yield UNDELETED, "between two runs", len(newest.keys() & removed_later), len(removed_later)
    yield DOUBLED, "after changes during a first load", sum(number > 1 for *_, number in rows), len(rows)


def faults(contender: Contender, api: Api, folder: Path, random: Random) -> Iterator[Loss]:
    """Let some requests fail."""

    def fail_sometimes() -> None:
        if random.random() < FAULTS:
            api.script.append(Answer(503))

    api.before_each = fail_sometimes
    yield load(contender, api, folder)
    held = contender.query(folder, "select distinct id from held")
    yield LOST, "while requests failed", len(api.rows) - len(held), len(api.rows)


def values(contender: Contender, api: Api, folder: Path, _: Random) -> Iterator[Loss]:
    """Load unusual names."""
    for row, name in zip(api.rows, UNUSUAL, strict=False):
        row |= {"first_name": name, "last_name": name}
    yield load(contender, api, folder)
    held = {patient: names for patient, *names in contender.query(folder, "select id, first_name, last_name from held")}
    altered = [
        value != row[name]
        for row in api.rows[: len(UNUSUAL)]
        for name, value in zip(("first_name", "last_name"), held.get(row["id"], [None, None]), strict=True)
    ]
    yield ALTERED, "", sum(altered), len(altered)


def kill(contender: Contender, api: Api, folder: Path, _: Random) -> Iterator[Loss]:
    """Kill a first load after half of its pages, and start again until it is not refused."""
    process = contender.start(api.url, folder)
    while len(api.pages) < KILLED // PAGE_SIZE // 2 and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    killed_at = time.monotonic()
    refused = 0
    while contender.load(api.url, folder).exit_code and time.monotonic() < killed_at + PATIENCE:
        refused += 1
        time.sleep(1)
    yield REFUSED, "after a kill", refused, refused + 1
    [(rows, patients)] = contender.query(folder, "select count(*), count(distinct id) from held") or [(0, 0)]
    yield LOST, "after a kill and another start", KILLED - patients, KILLED
    yield DOUBLED, "after a kill and another start", rows - patients, patients
