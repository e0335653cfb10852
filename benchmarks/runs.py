"""What runs cost, and how that grows; the connector beside its peers, and beside what bounds it."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from apis import Collection, FastApi, SqliteApi, fast_api, sqlite_api
from contenders import CONNECTOR, CONTENDERS, DLT, IN_FLIGHT, PLAIN, Contender
from measure import PROJECT, Cost, measure

if TYPE_CHECKING:
    from bench import Bench

CHANGES = (0, 1_000, 10_000)
LIMIT_SIZE = 100_000
TAP_SIZE = 20_000
LATENCY = 0.04
LONGEST = 300
"""Seconds; a peer whose first load would take longer than this, judged by the size before, is left out."""

TAP = PROJECT / ".meltano/extractors/tap-toubib/venv/bin/tap-toubib"
TARGET = PROJECT / ".meltano/loaders/target-duckdb/venv/bin/target-duckdb"


def what(changes: int) -> str:
    """Name a periodic run."""
    return f"{changes:,} changes" if changes else "no change"


def growth(bench: Bench) -> None:
    """Measure first loads and periodic runs at each size; at the largest, from the stand-in on SQLite, too."""
    first_loads: dict[str, float] = {}
    before = 0
    for patients in bench.sizes:
        collection = Collection.made(bench.folder, patients)
        taking_part = []
        with fast_api(collection.path) as api:
            for contender in CONTENDERS:
                if (expected := first_loads.get(contender.name, 0) * patients / (before or patients)) > LONGEST:
                    bench.record(what="left out", contender=contender.name, patients=patients, expected=expected)
                    continue
                taking_part.append(contender)
                shutil.rmtree(bench.destination(contender, patients), ignore_errors=True)
                first_loads[contender.name] = load(bench, contender, api, collection, "first load").seconds
            for changes in CHANGES:
                for repeat in range(bench.repeat):
                    if changes:
                        collection.change(changes)
                        api.ask("changes")
                    for contender in taking_part[:: 1 if repeat % 2 else -1]:
                        # it reads everything each time
                        if contender is not PLAIN or not repeat:
                            load(bench, contender, api, collection, what(changes))
        before = patients
    with sqlite_api(collection.path) as api:
        for repeat in range(bench.repeat):
            collection.change(CHANGES[-1])
            for contender in (CONNECTOR, DLT)[:: 1 if repeat % 2 else -1]:
                load(bench, contender, api, collection, what(CHANGES[-1]))


def load(bench: Bench, contender: Contender, api: FastApi | SqliteApi, collection: Collection, name: str) -> Cost:
    """Run a contender on its destination of a size, record what it cost, and check what is there."""
    folder = bench.destination(contender, collection.patients)
    folder.mkdir(parents=True, exist_ok=True)
    api.seen()
    cost = contender.load(api.url, folder)
    seen = api.seen()
    [held] = contender.query(folder, "select count(*), max(changed_at) from held") or [(0, "")]
    bench.record(
        what=name,
        api=type(api).__name__,
        contender=contender.name,
        patients=collection.patients,
        **asdict(cost),
        requests=seen.requests,
        # from the first request to the last row loaded
        loading=cost.marked_at - seen.first_at if cost.marked_at else None,
        is_complete=held == (collection.patients, collection.newest()),
    )
    return cost


def limits(bench: Bench) -> None:
    """Measure first loads beside what bounds them, and beside dlt."""
    size = min(LIMIT_SIZE, bench.sizes[-1])
    collection = Collection.made(bench.folder, size)
    with sqlite_api(collection.path) as api:
        for _ in range(bench.repeat):
            bare(bench, api, size)
            first_load(bench, CONNECTOR, api, collection)
            first_load(bench, DLT, api, collection)
    with fast_api(collection.path, latency=LATENCY) as slow:
        for _ in range(bench.repeat):
            bare(bench, slow, size, latency=LATENCY)
            first_load(bench, CONNECTOR, slow, collection, latency=LATENCY)
    with fast_api(collection.path) as fast:
        for _ in range(bench.repeat):
            bare(bench, fast, size)
            first_load(bench, CONNECTOR, fast, collection)
            loader(bench, fast.url, size)
    collection = Collection.made(bench.folder, min(TAP_SIZE, size))
    for latency, parallel in ((LATENCY, IN_FLIGHT), (LATENCY, 2 * IN_FLIGHT), (0, IN_FLIGHT)):
        with fast_api(collection.path, latency=latency) as api_of_tap:
            for _ in range(bench.repeat):
                bare(bench, api_of_tap, collection.patients, parallel=parallel, latency=latency)
                tap(bench, api_of_tap, collection.patients, parallel=parallel, latency=latency)
    for patients in (bench.sizes[0], bench.sizes[-1]):
        with fast_api(Collection.made(bench.folder, patients).path) as api_of_tap:
            tap(bench, api_of_tap, patients)


def first_load(
    bench: Bench, contender: Contender, api: FastApi | SqliteApi, collection: Collection, latency: float = 0
) -> None:
    """Measure a first load."""
    shutil.rmtree(bench.destination(contender, collection.patients), ignore_errors=True)
    load(bench, contender, api, collection, f"first load, {latency * 1000:.0f} ms")


def bare(
    bench: Bench, api: FastApi | SqliteApi, patients: int, *, parallel: int = IN_FLIGHT, latency: float = 0
) -> None:
    """Fetch the pages of a first load and do nothing with them."""
    command = [sys.executable, Path(__file__).with_name("bare_client.py"), api.url, f"--parallel={parallel}"]
    _reading(bench, "bare client", command, api, patients=patients, parallel=parallel, latency=latency)


def tap(bench: Bench, api: FastApi, patients: int, *, parallel: int = IN_FLIGHT, latency: float = 0) -> None:
    """Make a first load with the tap alone."""
    config = bench.write("tap.json", {"api_url": api.url, "max_parallel_requests": parallel})
    command = ["bash", "-c", f"exec {TAP} --config {config} >/dev/null 2>&1"]
    _reading(bench, "tap", command, api, patients=patients, parallel=parallel, latency=latency)


def _reading(
    bench: Bench, name: str, command: list[str | Path], api: FastApi | SqliteApi, **conditions: float
) -> None:
    api.seen()
    cost = bench.succeed(measure(command))
    seen = api.seen()
    whole = asdict(cost) | {"seconds": seen.seconds, "whole": cost.seconds}
    bench.record(what=name, api=type(api).__name__, contender=name, requests=seen.requests, **whole, **conditions)


def loader(bench: Bench, url: str, patients: int) -> None:
    """Feed the loader from a file, as the connector sets it and with its own batches; and with nothing."""
    records = bench.folder / f"{patients}.singer"
    if not records.exists():
        maps = {"patients": {"__key_properties__": []}}
        config = bench.write("tap.json", {"api_url": url, "stream_maps": maps})
        bench.succeed(measure(["bash", "-c", f"exec {TAP} --config {config} >{records} 2>/dev/null"]))
    plugins = yaml.safe_load((PROJECT / "meltano.yml").read_text())["plugins"]
    settings = {each["name"]: each["value"] for each in plugins["loaders"][0]["settings"] if "value" in each}
    whole_batches = {name: value for name, value in settings.items() if name != "batch_size_rows"}
    for name, chosen, stdin in (
        ("loader", settings, records),
        ("loader, its own batches", whole_batches, records),
        ("loader, no records", settings, Path("/dev/null")),
    ):
        command = [TARGET, "--config", target_config(bench, chosen)]
        cost = bench.succeed(measure(command, {"TZ": "UTC"}, stdin=stdin))
        bench.record(what=name, contender="target-duckdb", patients=patients, **asdict(cost))


def target_config(bench: Bench, settings: dict[str, Any]) -> Path:
    """Write a configuration of the loader for a new file."""
    path = bench.folder / "loader.duckdb"
    with suppress(FileNotFoundError):
        path.unlink()
    return bench.write("target.json", settings | {"filepath": str(path)})


