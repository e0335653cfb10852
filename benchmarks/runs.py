"""What runs cost, how that grows, and where it goes; the connector beside its peers, and beside what bounds it."""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import duckdb
import requests
from apis import Api, Collection, serve
from contenders import CONNECTOR, CONTENDERS, DLT, IN_FLIGHT, PLAIN, Contender
from measure import Cost, measure, succeed
from session import Bench
from startups import TAP, loader_command, make_parts, start_parts

FIRST_LOAD = "first load"
RUNS = {FIRST_LOAD: 0, "no change": 0, "1,000 changes": 1_000, "10,000 changes": 10_000}
"""Runs that are measured at each size, and how many patients change before them."""

MIDDLE = 100_000
"""Patients of first loads from slower services, and the most that the plain stack loads: it reads all each time."""

LATENCY = 0.04
PAGE_SIZE = 100
"""The service's largest; the bare client's pages overlap by one row, as the tap's do."""

STEPS = {
    "command and Meltano": "Running catalog discovery",
    "discovery, starts of tap and loader": "tap-toubib v",
    "reading and loading": "Block run completed",
    "dbt: import": "Running with dbt=",
    "dbt: parsing": "Concurrency: ",
    "dbt: building": "Done. PASS=",
}
"""The steps of a run, each with what the line of its log says that ends it."""

BUILT = re.compile(r"(hook|model|PASS)\b.*\[\w+ in ([\d.]+)s\]")
KINDS = {"hook": "dbt: hooks", "model": "dbt: models", "PASS": "dbt: data tests"}
"""What dbt says of something that is done, and what that was."""


def growth(bench: Bench) -> None:
    """Measure first loads and periodic runs at each size, all contenders in turn after the same changes."""
    for patients in bench.sizes:
        collection = Collection.made(bench.folder, patients)
        contenders = [each for each in CONTENDERS if each is not PLAIN or patients <= MIDDLE]
        with serve(collection.path) as api:
            for what, changes in RUNS.items():
                for repeat in range(bench.repeat):
                    if changes:
                        collection.change(changes)
                        api.notice_changes()
                    for contender in contenders[:: 1 if repeat % 2 else -1]:
                        if contender is not PLAIN or not repeat:
                            load(bench, contender, api, collection, what)


def load(bench: Bench, contender: Contender, api: Api, collection: Collection, what: str) -> Cost:
    """Run a contender on its destination of a size, record what it cost, and check what is there.

    `loading` are the seconds from the start of the run until all rows are loaded and the history is still to be built:
    the start-ups of all that starts before are in it.

    Raises:
        RuntimeError: It failed; what the others took cannot be compared with that.
    """
    folder = bench.destination(contender, collection.patients)
    if what.startswith(FIRST_LOAD):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    api.count_requests()
    cost = succeed(contender.load(api.url, folder))
    bench.record(
        what=what,
        contender=contender.name,
        patients=collection.patients,
        **asdict(cost),
        requests=api.count_requests(),
        loading=cost.marked_at - cost.started_at or None,
        is_complete=is_complete(contender, folder, collection),
    )
    return cost


def is_complete(contender: Contender, folder: Path, collection: Collection) -> bool:
    """Tell whether a destination holds as many current rows as there are patients, and the last change."""
    held = contender.query(folder, "select count(*), max(changed_at) from held")
    return held == [(collection.patients, collection.newest())]


def first_loads(bench: Bench) -> None:
    """Measure first loads from slower services beside dlt and beside what bounds them; and the loader alone.

    What bounds extraction and loading is what the bare client takes to read the pages, and the start-ups of Meltano,
    of the tap, twice, since the run discovers the columns first, and of the loader.
    """
    collection = Collection.made(bench.folder, min(MIDDLE, bench.sizes[-1]))
    for latency in (None, LATENCY):
        with serve(collection.path, latency=latency) as api:
            parts = make_parts(bench, api.url, bench.folder / "startups.duckdb")
            started = {name: parts[name] for name in ("Meltano", "tap", "loader")}
            what = f"{FIRST_LOAD}, {api.name}"
            for _ in range(bench.repeat):
                startups, seconds = start_parts(bench, started), read_pages(api.url)
                bound = {"seconds": seconds, "loading": startups + seconds}
                bench.record(what=what, contender="bare client", patients=collection.patients, **bound)
                for contender in (CONNECTOR, DLT):
                    load(bench, contender, api, collection, what)
    with serve(collection.path) as api:
        load_alone(bench, api, collection)


def read_pages(url: str) -> float:
    """Fetch the pages of a first load and do nothing with them, the bare client; return the seconds that took.

    As many requests are in flight as the connector has.
    """
    with requests.Session() as session, ThreadPoolExecutor(IN_FLIGHT) as executor:

        def fetch(offset: int) -> requests.Response:
            params: dict[str, str | int] = {"offset": offset, "limit": PAGE_SIZE, "sort_field": "id"}
            response = session.get(f"{url}/v1/patients", params=params, timeout=60)
            response.raise_for_status()
            return response

        began = time.monotonic()
        total = fetch(0).json()["meta"]["total_items"]
        for _ in executor.map(fetch, range(PAGE_SIZE - 1, total, PAGE_SIZE - 1)):
            pass
        return time.monotonic() - began


def load_alone(bench: Bench, api: Api, collection: Collection) -> None:
    """Feed the loader what the tap writes on a first load, messages and files, and in turn nothing.

    Raises:
        RuntimeError: It failed, or did not load every patient.
    """
    batches, kept, messages = (bench.folder / name for name in ("batches", "batches.kept", "messages.singer"))
    for folder in (batches, kept):
        shutil.rmtree(folder, ignore_errors=True)
    batch = {"encoding": {"format": "jsonl", "compression": "none"}, "storage": {"root": batches.as_uri()}}
    config = bench.write("tap.json", {"api_url": api.url, "batch_config": batch})
    write = 'exec "$0" --config "$1" >"$2" 2>/dev/null'
    succeed(measure(["bash", "-c", write, TAP, config, messages]))
    batches.rename(kept)
    database = bench.folder / "loader.duckdb"
    command = loader_command(bench, database)
    for _ in range(bench.repeat):
        database.unlink(missing_ok=True)
        started = succeed(measure(command, {"TZ": "UTC"}))
        # the loader removes what it has loaded
        shutil.copytree(kept, batches)
        cost = succeed(measure(command, {"TZ": "UTC"}, stdin=messages))
        shutil.rmtree(batches)
        with duckdb.connect(database) as connection:
            loaded = connection.execute("select count(*) from raw.patients").fetchone()
        if loaded != (collection.patients,):
            raise RuntimeError(f"The loader loaded {loaded} of {collection.patients} patients")
        bench.record(
            what="loader alone", patients=collection.patients, **asdict(cost), loading_cpu=cost.cpu - started.cpu
        )


def parts(bench: Bench) -> None:
    """Measure runs without change, their steps, and in turn the start-ups of what they are made of."""
    collection = Collection.made(bench.folder, bench.sizes[0])
    folder = bench.folder / "parts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with serve(collection.path) as api:
        succeed(CONNECTOR.load(api.url, folder))
        started = make_parts(bench, api.url, folder / "patients.duckdb")
        for _ in range(bench.repeat):
            cost = succeed(CONNECTOR.load(api.url, folder))
            steps = find_steps((folder / "patients.duckdb.work/run.log").read_text(), cost)
            bench.record(what="run without change", **asdict(cost), steps=steps)
            bench.record(what="start-ups", seconds=start_parts(bench, started))


def find_steps(log: str, cost: Cost) -> dict[str, float]:
    """Return the seconds that each step of a run took, by its log; what dbt built stands by its kind."""
    lines = iter(log.splitlines())
    steps, before = {}, cost.started_at
    for step, end in STEPS.items():
        at = next(datetime.fromisoformat(line.split()[0]).timestamp() for line in lines if end in line)
        steps[step], before = at - before, at
    built = dict.fromkeys(KINDS.values(), 0.0)
    for kind, seconds in BUILT.findall(log):
        built[KINDS[kind]] += float(seconds)
    rest = steps.pop("dbt: building") - sum(built.values())
    ends = cost.started_at + cost.seconds - before
    return {**steps, **built, "dbt: the rest": rest, "ends of dbt, Meltano and command": ends}
