"""Sections of the benchmark that measure whole runs."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import requests
from contenders import CONNECTOR, CONTENDERS, DLT, IN_FLIGHT, PLAIN, Contender
from fast_api import LIST_PATH, Service, serve
from measure import PROJECT, measure, succeed
from session import (
    CHANGES,
    DBT_IMPORT,
    FIRST_LOAD,
    FULL_REFRESH,
    MILLION,
    NO_CHANGE,
    SLOW_FIRST_LOAD,
    STATUS,
    Bench,
)

UPDATES = {FIRST_LOAD: 0, NO_CHANGE: 0, CHANGES: 1_000, FULL_REFRESH: 0}
"""The runs at each size, with the number of patients that change before each."""

MODERATE = 100_000
"""The largest collection for the plain stack, which reads everything in each run, and for the slow API."""

LATENCY = 0.04
PAGE_SIZE = 100

VENVS = PROJECT / ".meltano"
DBT_PYTHON = VENVS / "utilities/dbt/venv/bin/python"
TAP = VENVS / "extractors/tap-toubib/venv/bin/tap-toubib"
LOADER = VENVS / "loaders/target-duckdb/venv/bin/target-duckdb-append"


def growth(bench: Bench) -> None:
    """Measure runs at each size. Sizes and contenders take turns, so that a disturbance meets all of them."""
    with ExitStack() as stack:
        services = [stack.enter_context(serve(patients)) for patients in bench.sizes]
        for what, updates in UPDATES.items():
            for repeat in range(bench.repeat):
                for service in services:
                    if updates:
                        service.change(updates)
                    for contender in choose_contenders(what, service.patients, repeat):
                        load(bench, contender, service, what)
                if what == NO_CHANGE:
                    cost = succeed(measure([DBT_PYTHON, "-c", "import dbt.cli.main"]))
                    bench.record(what=DBT_IMPORT, **asdict(cost))


def choose_contenders(what: str, patients: int, repeat: int) -> list[Contender]:
    """Return the contenders of a run, in another order in every second repetition.

    The slowest runs are left out: above a million patients, repetitions and full refreshes, and the plain stack after
    one repetition or above 100,000.
    """
    if patients > MILLION and (repeat or what == FULL_REFRESH):
        return []
    if what == FULL_REFRESH:
        return [CONNECTOR]
    contenders = [each for each in CONTENDERS if each is not PLAIN or (patients <= MODERATE and not repeat)]
    return contenders[:: 1 if repeat % 2 else -1]


def load(bench: Bench, contender: Contender, service: Service, what: str) -> None:
    """Run a contender on its destination, record the cost, and check that the destination is complete.

    Raises:
        RuntimeError: It failed.
    """
    folder = bench.destination(contender, service.patients)
    if what.startswith(FIRST_LOAD):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    service.count_requests()
    options = ["--full-refresh"] if what == FULL_REFRESH else []
    bench.record(
        what=what,
        contender=contender.name,
        patients=service.patients,
        **asdict(succeed(contender.load(service.url, folder, *options))),
        requests=service.count_requests(),
        is_complete=is_complete(contender, folder, service),
    )


def is_complete(contender: Contender, folder: Path, service: Service) -> bool:
    """Return whether a destination has as many current rows as the service has patients, and the newest change."""
    held = contender.query(folder, "select count(*), max(changed_at) from held")
    return held == [(service.patients, service.newest_update())]


def extraction(bench: Bench) -> None:
    """Measure a first load from an API with 40 ms a page, beside the time that the pages and the start-ups take."""
    with serve(min(MODERATE, bench.sizes[-1]), latency=LATENCY) as service:
        startups = prepare_startups(bench.folder / "startups", service.url)
        for _ in range(bench.repeat):
            started = sum(succeed(measure(*startup)).seconds for startup in startups)
            seconds = read_pages(service.url)
            bench.record(
                what=SLOW_FIRST_LOAD,
                contender="bare client",
                patients=service.patients,
                seconds=seconds,
                loading=started + seconds,
            )
            for contender in (CONNECTOR, DLT):
                load(bench, contender, service, SLOW_FIRST_LOAD)


def prepare_startups(folder: Path, url: str) -> list[tuple[list[str | Path], dict[str, str]]]:
    """Return commands, with their environments, that start Meltano, the tap and the loader with nothing to do.

    The tap only discovers, twice, as a run starts it: for the columns and for the patients. The loader reads no
    message.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT / "benchmarks/idle", folder)
    tap, loader = folder / "tap.json", folder / "loader.json"
    tap.write_text(json.dumps({"api_url": url}))
    loader.write_text(json.dumps({"filepath": f"{folder}/empty.duckdb", "default_target_schema": "raw"}))
    meltano: tuple[list[str | Path], dict[str, str]] = (
        [PROJECT / ".venv/bin/meltano", f"--cwd={folder}", "run", "--force", "tap-idle", "target-idle", "idle:build"],
        {"MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db"},
    )
    # the first start creates the system database
    succeed(measure(*meltano))
    discover: list[str | Path] = [TAP, "--config", tap, "--discover"]
    return [meltano, (discover, {}), (discover, {}), ([LOADER, "--config", loader], {})]


def read_pages(url: str) -> float:
    """Fetch the pages of a first load, as many at once as the connector, and return the seconds that this takes.

    The pages overlap by one row, as the tap's do.
    """
    with requests.Session() as session, ThreadPoolExecutor(IN_FLIGHT) as executor:

        def fetch(offset: int) -> requests.Response:
            query = {"offset": str(offset), "limit": str(PAGE_SIZE), "sort_field": "id"}
            response = session.get(f"{url}{LIST_PATH}", params=query, timeout=60)
            response.raise_for_status()
            return response

        began = time.monotonic()
        total = fetch(0).json()["meta"]["total_items"]
        for _ in executor.map(fetch, range(PAGE_SIZE - 1, total, PAGE_SIZE - 1)):
            pass
        return time.monotonic() - began


def status(bench: Bench) -> None:
    """Measure `status` beside a file of 10,000 runs, 100 times."""
    folder = bench.destination(CONNECTOR, PAGE_SIZE)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with serve(PAGE_SIZE) as service:
        succeed(CONNECTOR.load(service.url, folder))
    runs = folder / "patients.duckdb.runs.jsonl"
    repeat_run(runs, 10_000)
    environment = {"RUNNER": "local", "DESTINATION_DUCKDB_PATH": f"{folder}/patients.duckdb"}
    costs = [measure(["bin/toubib-connector", "status"], environment) for _ in range(100)]
    crashes = sum(cost.exit_code != 0 for cost in costs)
    bench.record(what=STATUS, seconds=median(cost.seconds for cost in costs), crashes=crashes)


def repeat_run(file: Path, times: int) -> None:
    """Replace the runs in a file by hourly copies of its last one."""
    last = json.loads(file.read_text().splitlines()[-1])
    with file.open("w") as lines:
        for hours in reversed(range(times)):
            shift = timedelta(hours=hours)
            instants = {
                name: (datetime.fromisoformat(last[name]) - shift).isoformat() for name in ("started_at", "ended_at")
            }
            lines.write(json.dumps(last | instants) + "\n")
