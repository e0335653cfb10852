"""What is lost or changed: while patients change during a first load, by failures, by a kill, by values on the way.

Each contender reads an API that does the same at the same page.
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

from apis import Collection
from contenders import CONTENDERS, Contender
from fast_api import read_rows
from runs import PAGE_SIZE
from session import Bench

from tap_toubib.testing import Answer, Api, serving
from toubib_api import create_app

Loss = tuple[str, str, int, int]
"""What kind of loss, in which test, how often, and of how many."""

MOVING = 2_000
EVERY, TIMES, UPDATES, REMOVALS = 4, 4, 20, 5
"""While those are read for the first time, so many change and disappear with every fourth page, four times."""

SEEDS = 3
KILLED = 20_000
FAULTS = 0.05
"""The share of pages that fails."""

PATIENCE = 600
"""Seconds after which a killed load that does not start again is given up."""

HOSTILE = [
    "",
    " ",
    "NULL",
    "null",
    "None",
    "nan",
    "\\N",
    '"',
    "'",
    '""',
    ",",
    ";",
    "\\",
    "a\r\nb",
    "a\tb",
    "\u2028",
    "😀",
]
HOSTILE += ["0012", "1e5", "2024-01-01", "true", "{}", "  padded  ", "e\u0301"]
"""Names that look like something else to who is careless with them."""


def correctness(bench: Bench) -> None:
    """Measure what each contender loses or changes."""
    for patients, tests in ((MOVING, [unrest] * SEEDS + [faults, values]), (KILLED, [kill])):
        collection = Collection.made(bench.folder, patients)
        rows = [row for _, _, row in read_rows(collection.path)]
        document = create_app(collection.path).openapi()
        for contender in CONTENDERS:
            for seed, test in enumerate(tests):
                folder = bench.destination(contender, patients)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                api = Api(rows=[json.loads(row) for row in rows], document=document)
                with serving(api):
                    for kind, detail, count, whole in test(contender, api, folder, Random(seed)):  # noqa: S311 (no secret)
                        bench.record(kind=kind, detail=detail, contender=contender.name, count=count, whole=whole)


def load(contender: Contender, api: Api, folder: Path) -> Loss:
    """Load, and return whether that failed."""
    return "failed runs", "", int(contender.load(api.url, folder).exit_code != 0), 1


def unrest(contender: Contender, api: Api, folder: Path, random: Random) -> Iterator[Loss]:
    """Load patients who change during the load, remove some more, and load again in quiet."""
    updated: set[int] = set()
    removed: set[int] = set()

    def disturb(updates: int) -> None:
        chosen = random.sample(range(len(api.rows)), updates + REMOVALS)
        for place in chosen[REMOVALS:]:
            row = api.rows[place]
            row |= {"total_visits": row["total_visits"] + 1, "updated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
            updated.add(row["id"])
        removed.update(api.rows[place]["id"] for place in chosen[:REMOVALS])
        api.rows[:] = [row for row in api.rows if row["id"] not in removed]

    def disturb_at_page() -> None:
        number = len(api.pages)
        if number % EVERY == 0 and number <= EVERY * TIMES:
            disturb(UPDATES)

    api.before_each = disturb_at_page
    yield load(contender, api, folder)
    api.before_each = lambda: None
    during = {*removed}
    disturb(0)
    yield load(contender, api, folder)
    rows = contender.query(folder, "select id, max(changed_at), count(*) from held group by id")
    newest = {patient: at for patient, at, _ in rows}
    current = {row["id"]: row["updated_at"].replace("T", " ").rstrip("Z") for row in api.rows}
    unseen = {patient for patient, at in current.items() if newest.get(patient, "") < at}
    updated -= removed
    yield "rows never seen", "changed during a first load", len(unseen & updated), len(updated)
    yield "rows never seen", "not changed during it", len(unseen - updated), len(current) - len(updated)
    yield "deletions unseen", "during a first load", len(newest.keys() & during), len(during)
    between = removed - during
    yield "deletions unseen", "between two runs", len(newest.keys() & between), len(between)
    yield "two current rows", "after changes during a first load", sum(number > 1 for *_, number in rows), len(rows)


def faults(contender: Contender, api: Api, folder: Path, random: Random) -> Iterator[Loss]:
    """Load from an API that fails now and then."""

    def fail_at_times() -> None:
        if random.random() < FAULTS:
            api.script.append(Answer(503))

    api.before_each = fail_at_times
    yield load(contender, api, folder)
    held = contender.query(folder, "select distinct id from held")
    yield "rows never seen", "while requests failed", len(api.rows) - len(held), len(api.rows)


def values(contender: Contender, api: Api, folder: Path, _: Random) -> Iterator[Loss]:
    """Load names that look like something else."""
    for row, name in zip(api.rows, HOSTILE, strict=False):
        row |= {"first_name": name, "last_name": name}
    yield load(contender, api, folder)
    held = {patient: names for patient, *names in contender.query(folder, "select id, first_name, last_name from held")}
    changed = [
        value != row[name]
        for row in api.rows[: len(HOSTILE)]
        for name, value in zip(("first_name", "last_name"), held.get(row["id"], [None, None]), strict=True)
    ]
    yield "values changed on the way", "", sum(changed), len(changed)


def kill(contender: Contender, api: Api, folder: Path, _: Random) -> Iterator[Loss]:
    """Kill a first load when half of its pages are read, start it again at once, and again as long as it refuses."""
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
    yield "refused starts", "after a kill", refused, refused + 1
    [(rows, patients)] = contender.query(folder, "select count(*), count(distinct id) from held") or [(0, 0)]
    yield "rows never seen", "after a kill and another start", KILLED - patients, KILLED
    yield "two current rows", "after a kill and another start", rows - patients, patients
