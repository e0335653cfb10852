"""What is lost: in a first load while patients change and disappear, by a kill, and by a service that fails."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from apis import Api, Collection, fast_api
from contenders import CONTENDERS, Contender

if TYPE_CHECKING:
    from pathlib import Path

    from bench import Bench

MOVING = 2_000
UNREST = {"every": 4, "times": 4, "updates": 20, "removals": 5}
"""While those are read for the first time: changes with every fourth page, four times."""

SEEDS = 3
KILLED = 20_000
PAGE_SIZE = 100
LATENCY = 0.02
FAULTS = 0.05
"""The share of pages that fails."""

PATIENCE = 600
"""Seconds after which a killed load that does not start again is given up."""


def correctness(bench: Bench) -> None:
    """Measure what each contender loses."""
    moving = Collection.made(bench.folder, MOVING)
    for contender in CONTENDERS:
        for seed in range(SEEDS):
            with fast_api(moving.path, latency=LATENCY) as api:
                found = unrest(bench, contender, api, seed)
                bench.record(what="unrest", contender=contender.name, patients=MOVING, seed=seed, **found)
    for contender in CONTENDERS:
        with fast_api(moving.path, faults=FAULTS) as api:
            folder = emptied(bench, contender, MOVING)
            cost = contender.load(api.url, folder)
            held = contender.query(folder, "select count(distinct id) from held") or [(0,)]
            bench.record(
                what="faults",
                contender=contender.name,
                patients=MOVING,
                faults=FAULTS,
                exit_code=cost.exit_code,
                lacking=MOVING - held[0][0],
            )
    killed = Collection.made(bench.folder, KILLED)
    for contender in CONTENDERS:
        with fast_api(killed.path, latency=LATENCY) as api:
            bench.record(what="kill", contender=contender.name, patients=KILLED, **kill(bench, contender, api))


def emptied(bench: Bench, contender: Contender, patients: int) -> Path:
    """Return the folder of a destination without anything in it."""
    folder = bench.destination(contender, patients)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def unrest(bench: Bench, contender: Contender, api: Api, seed: int) -> dict[str, Any]:
    """Load patients who change during the load, remove some more, load again in quiet, and count what is wrong."""
    folder = emptied(bench, contender, MOVING)
    api.seen()
    api.ask("unrest", seed=seed, **UNREST)
    first = contender.load(api.url, folder)
    during = api.ask("ledger")
    between = api.ask("disturb")
    quiet = contender.load(api.url, folder)
    ledger = api.ask("ledger", current=1)
    current = {int(patient): at.replace("T", " ").rstrip("Z") for patient, at in ledger["current"].items()}
    rows = contender.query(folder, "select id, max(changed_at), count(*) from held group by id")
    newest = {patient: at for patient, at, _ in rows}
    updated = {*during["updated"]} - {*between["removed"]}
    unseen = {patient for patient, at in current.items() if newest.get(patient, "") < at}
    return {
        "exit_codes": [first.exit_code, quiet.exit_code],
        "updated": len(updated),
        "updated_unseen": len(updated & unseen),
        "others_unseen": len(unseen - updated),
        "removed": len(during["removed"]),
        "removed_unseen": len(newest.keys() & {*during["removed"]}),
        "two_current_rows": sum(number > 1 for _, _, number in rows),
        "removed_between": len(between["removed"]),
        "removed_between_unseen": len(newest.keys() & {*between["removed"]}),
    }


def kill(bench: Bench, contender: Contender, api: Api) -> dict[str, Any]:
    """Kill a first load when half of its pages are read, start it again at once, and again as long as it refuses."""
    folder = emptied(bench, contender, KILLED)
    api.seen()
    process = contender.start(api.url, folder)
    while api.ask("requests")["requests"] < KILLED // PAGE_SIZE // 2 and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    api.seen()
    killed_at = time.time()
    refused = 0
    while (cost := contender.load(api.url, folder)).exit_code and time.time() < killed_at + PATIENCE:
        refused += 1
        time.sleep(1)
    seen = api.seen()
    held = contender.query(folder, "select count(*), count(distinct id) from held") or [(0, 0)]
    return {
        "refused": refused,
        "exit_code": cost.exit_code,
        # from the kill; the start-up of a run is in it
        "until_first_request": seen.first_at - killed_at,
        "requests": seen.requests,
        "lacking": KILLED - held[0][1],
        "two_current_rows": held[0][0] - held[0][1],
    }
