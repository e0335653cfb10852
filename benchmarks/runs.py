"""What runs cost, and how that grows; the connector beside its peers, and beside what bounds it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from apis import Api, Collection, fast_api, sqlite_api
from contenders import CONNECTOR, CONTENDERS, DLT, IN_FLIGHT, PLAIN, Contender
from measure import PROJECT, Cost, measure

if TYPE_CHECKING:
    from bench import Bench

CHANGES = (0, 1_000, 10_000)
LIMIT_SIZE = 100_000
TAP_SIZE = 20_000
LATENCY = 0.04
LONGEST = 300
"""Seconds; if the plain stack's runs at a size would take longer, by those of the size before, they are left out."""

TAP = PROJECT / ".meltano/extractors/tap-toubib/venv/bin/tap-toubib"
TARGET = PROJECT / ".meltano/loaders/target-duckdb/venv/bin/target-duckdb"


def growth(bench: Bench) -> None:
    """Measure first loads and periodic runs at each size; at the largest, from the bundled API on SQLite, too."""
    # seconds for each patient, at the size before
    pace = 0.0
    for patients in bench.sizes:
        collection = Collection.made(bench.folder, patients)
        taking_part = []
        with fast_api(collection.path) as api:
            for contender in CONTENDERS:
                if contender is PLAIN and pace * patients > LONGEST:
                    bench.record(what="left out", contender=PLAIN.name, patients=patients, expected=pace * patients)
                    continue
                taking_part.append(contender)
                seconds = first_load(bench, contender, api, collection).seconds
            # it reads everything each time
            pace = seconds * (1 + len(CHANGES)) / patients
            for changes in CHANGES:
                periodic(bench, taking_part, api, collection, changes)
    with sqlite_api(collection.path) as backed:
        periodic(bench, [CONNECTOR, DLT], backed, collection, CHANGES[-1])


def periodic(bench: Bench, contenders: list[Contender], api: Api, collection: Collection, changes: int) -> None:
    """Measure runs of all contenders in turn, each after the same changes."""
    for repeat in range(bench.repeat):
        if changes:
            collection.change(changes)
            api.notice_changes()
        for contender in contenders[:: 1 if repeat % 2 else -1]:
            if contender is not PLAIN or not repeat:
                load(bench, contender, api, collection, f"{changes:,} changes" if changes else "no change")


def first_load(bench: Bench, contender: Contender, api: Api, collection: Collection) -> Cost:
    """Measure a first load."""
    shutil.rmtree(bench.destination(contender, collection.patients), ignore_errors=True)
    return load(bench, contender, api, collection, "first load")


def load(bench: Bench, contender: Contender, api: Api, collection: Collection, what: str) -> Cost:
    """Run a contender on its destination of a size, record what it cost, and check what is there.

    Raises:
        ClickException: It failed; what the others took cannot be compared with that.
    """
    folder = bench.destination(contender, collection.patients)
    folder.mkdir(parents=True, exist_ok=True)
    api.seen()
    cost = bench.succeed(contender.load(api.url, folder))
    seen = api.seen()
    bench.record(
        what=what,
        contender=contender.name,
        api=api.name,
        latency=api.latency,
        patients=collection.patients,
        **asdict(cost),
        requests=seen.requests,
        # from the first request to the last row loaded
        loading=cost.marked_at - seen.first_at if cost.marked_at else None,
        is_complete=is_complete(contender, folder, collection),
    )
    return cost


def is_complete(contender: Contender, folder: Path, collection: Collection) -> bool:
    """Tell whether a destination holds as many current rows as there are patients, and the last change."""
    held = contender.query(folder, "select count(*), max(changed_at) from held")
    return held == [(collection.patients, collection.newest())]


def limits(bench: Bench) -> None:
    """Measure first loads beside what bounds them, and beside dlt."""
    collection = Collection.made(bench.folder, min(LIMIT_SIZE, bench.sizes[-1]))
    with sqlite_api(collection.path) as backed:
        for _ in range(bench.repeat):
            bare(bench, backed, collection)
            first_load(bench, CONNECTOR, backed, collection)
            first_load(bench, DLT, backed, collection)
    for latency in (LATENCY, 0):
        with fast_api(collection.path, latency=latency) as api:
            records = recorded(bench, api)
            for _ in range(bench.repeat):
                bare(bench, api, collection)
                first_load(bench, CONNECTOR, api, collection)
                if not latency:
                    loader(bench, records, collection)
    collection = Collection.made(bench.folder, min(TAP_SIZE, bench.sizes[-1]))
    for latency, parallel in ((LATENCY, IN_FLIGHT), (LATENCY, 2 * IN_FLIGHT), (0, IN_FLIGHT)):
        with fast_api(collection.path, latency=latency) as api:
            for _ in range(bench.repeat):
                bare(bench, api, collection, parallel)
                tap(bench, api, collection, parallel)
    # for its memory
    for patients in (bench.sizes[0], bench.sizes[-1]):
        collection = Collection.made(bench.folder, patients)
        with fast_api(collection.path) as api:
            tap(bench, api, collection)


def bare(bench: Bench, api: Api, collection: Collection, parallel: int = IN_FLIGHT) -> None:
    """Fetch the pages of a first load and do nothing with them."""
    client = Path(__file__).with_name("bare_client.py")
    reading(
        bench, "bare client", [sys.executable, client, api.url, f"--parallel={parallel}"], api, collection, parallel
    )


def tap(bench: Bench, api: Api, collection: Collection, parallel: int = IN_FLIGHT) -> None:
    """Make a first load with the tap alone."""
    config = bench.write("tap.json", {"api_url": api.url, "max_parallel_requests": parallel})
    command = ["bash", "-c", f"exec {TAP} --config {config} >/dev/null 2>&1"]
    reading(bench, "tap alone", command, api, collection, parallel)


def reading(  # noqa: PLR0913, PLR0917 (each is a column of the result)
    bench: Bench, what: str, command: list[Any], api: Api, collection: Collection, parallel: int
) -> None:
    """Record what a client costs that only reads; its wall time is from the first request to the last answer."""
    api.seen()
    cost = bench.succeed(measure(command))
    seen = api.seen()
    conditions = {"api": api.name, "latency": api.latency, "patients": collection.patients, "parallel": parallel}
    bench.record(
        what=what, **conditions, **asdict(cost) | {"seconds": seen.last_at - seen.first_at}, requests=seen.requests
    )


def recorded(bench: Bench, api: Api) -> Path:
    """Return a file of what the tap writes on a first load, as meltano.yml has it: without keys, the loader appends."""
    records = bench.folder / "records.singer"
    without_keys: dict[str, Any] = {"patients": {"__key_properties__": []}}
    config = bench.write("tap.json", {"api_url": api.url, "stream_maps": without_keys})
    bench.succeed(measure(["bash", "-c", f"exec {TAP} --config {config} >{records} 2>/dev/null"]))
    return records


def loader(bench: Bench, records: Path, collection: Collection) -> None:
    """Feed the loader from a file, as the connector sets it and with its own batches; and with nothing."""
    plugins = yaml.safe_load((PROJECT / "meltano.yml").read_text())["plugins"]
    database = bench.folder / "loader.duckdb"
    settings = {each["name"]: each["value"] for each in plugins["loaders"][0]["settings"] if "value" in each}
    settings["filepath"] = str(database)
    whole_batches = {name: value for name, value in settings.items() if name != "batch_size_rows"}
    for what, chosen, stdin in (
        ("loader alone", settings, records),
        ("loader alone, its own batches", whole_batches, records),
        ("loader alone, no records", settings, Path("/dev/null")),
    ):
        database.unlink(missing_ok=True)
        command: list[str | Path] = [TARGET, "--config", bench.write("target.json", chosen)]
        cost = bench.succeed(measure(command, {"TZ": "UTC"}, stdin=stdin))
        bench.record(what=what, patients=collection.patients, **asdict(cost))
