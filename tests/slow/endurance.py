"""Many runs in a row under changes, kills, outages and a full disk; then a quiet one, and all must be there.

`make endurance RUNS=200` runs this file. As root, it gives the destination a small disk of its own, and fills that at
times. `SEED` repeats an order of accidents.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import PROJECT, Api, Destination, kill

from toubib_api.change import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Version = tuple[int, str, str, int]
PATIENTS = 500
"""Few, so that most versions soon end: only the history can then prove that they existed."""
DISK = "200m"
KEPT = ("lock", "dbt", "run.log")
"""The files that a run leaves in the work folder."""

MIDDLE_OF_A_RUN = (0.5, 9)
"""Seconds after the start of a run."""


class Service:
    """The bundled API as a process, which an outage can kill."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._port = "0"
        self.start()

    def start(self) -> None:
        command = [str(PROJECT / ".venvs/toubib-api/bin/toubib-api"), "serve", "--port", self._port]
        command += ["--database", str(self._database), "--patients", str(PATIENTS)]
        self.process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout
        url = self.process.stdout.readline().split(" on ")[1].split()[0]
        self._port = url.rsplit(":", 1)[1]
        self.api = Api(url, self._database)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Endurance:
    """A destination through many runs.

    Attributes:
        expected: Id, `updated_at`, last name and visits of each version that a run saw.
        outcomes: How often each kind of run ended with which exit code.
        lost: Expected versions that are not in the history.
    """

    destination: Destination
    service: Service
    random: Random
    expected: set[Version] = field(default_factory=set)
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    lost: set[Version] = field(default_factory=set)

    def run(self, number: int, kind: str) -> None:
        """Change the source and run, with an accident of some kind in the middle."""
        self._change(self.random.randrange(40))
        before = self.service.api.patients()
        accidents: dict[str, Callable[[subprocess.Popen[bytes]], object]] = {
            "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
            "SIGKILL": kill,
            "SIGKILL of the first process": lambda process: process.kill(),
            "outage": lambda _: self.service.kill(),
            "full disk": lambda _: self._fill(),
        }
        printed = self.service.api.database.with_name("printed")
        process = self.destination.start("run", output=printed, API_BASEURL=self.service.api.url)
        changed: set[int] = set()
        if kind in accidents or kind == "moving":
            time.sleep(self.random.uniform(*MIDDLE_OF_A_RUN))
            if kind == "moving":
                changed = self._change(20)
            else:
                accidents[kind](process)
        exit_code = process.wait()
        self._filler.unlink(missing_ok=True)
        if kind == "outage":
            self.service.start()
        self.outcomes[kind, exit_code] += 1
        if exit_code == 0:
            self.expected |= {version(patient) for patient_id, patient in before.items() if patient_id not in changed}
            self._report_lost(number)
        last_line = (["", *printed.read_text().splitlines()])[-1][:100]
        size = self.destination.path.stat().st_size / 1e6 if self.destination.path.exists() else 0
        print(f"{number:4} {kind:30} exit code {exit_code:4} {size:6.1f} MB  {last_line}", flush=True)

    def _report_lost(self, number: int) -> None:
        """Print raw and the history of each patient with a newly lost version."""
        for lost in sorted(self.expected - recorded(self.destination) - self.lost):
            self.lost.add(lost)
            print(f"{number:4} LOST {lost}", flush=True)
            for table, key in (("raw.patients", "id"), ("main.patients_history", "patient_id")):
                for row in self.destination.rows(table):
                    if row[key] == lost[0]:
                        print("    ", table, {name: str(value) for name, value in row.items()}, flush=True)

    def _change(self, updates: int) -> set[int]:
        done = change(self.service.api.database, updates, self.random.randrange(4), self.random.randrange(3))
        return {*done.updated, *done.removed}

    @property
    def _filler(self) -> Path:
        return self.destination.path.parents[1] / "filler"

    def _fill(self) -> None:
        """Fill the disk almost completely."""
        free = shutil.disk_usage(self._filler.parent).free
        with suppress(OSError):  # the run took some of it in between
            self._filler.write_bytes(bytes(max(0, free - self.random.choice([0, 20_000, 100_000]))))


def version(patient: dict[str, Any]) -> Version:
    instant = patient["updated_at"].removesuffix("Z").replace("T", " ")
    return patient["id"], instant.split(".")[0], patient["last_name"], patient["total_visits"]


def recorded(destination: Destination, table: str = "patients_history", instant: str = "valid_from") -> set[Version]:
    columns = f"patient_id, strftime({instant} at time zone 'UTC', '%Y-%m-%d %H:%M:%S'), last_name, total_visits"
    return {(*row,) for row in destination.query(f"select {columns} from main.{table}")}


def differences(destination: Destination, api: Api, expected: set[Version]) -> Iterator[str]:
    """Yield the errors in a destination after a quiet run."""
    source = {version(patient) for patient in api.patients().values()}
    current = recorded(destination, "patients", "updated_at")
    if current != source:
        yield f"the destination differs from the source in {len(current ^ source)} patients"
    history = recorded(destination)
    if lost := expected - history:
        yield f"{len(lost)} versions that a run saw are not in the history"
    if tables := destination.query("select table_name from information_schema.tables where table_name like 'tmp%'"):
        yield f"tables are left over: {tables}"
    work = Path(f"{destination.path}.work")
    names = {path.name for path in [*work.iterdir(), *destination.path.parent.iterdir()]}
    if extra := names - {
        *KEPT,
        work.name,
        destination.path.name,
        f"{destination.path.name}.meltano.db",
        f"{destination.path.name}.runs.jsonl",
    }:
        yield f"files are left over: {extra}"
    compact = destination.path.with_name("compact.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{destination.path}' as written (read_only); attach '{compact}' as compact")
        connection.execute("create schema compact.raw; create table compact.raw.patients as from written.raw.patients")
        connection.execute("create table compact.patients_history as from written.main.patients_history")
    size, least = destination.path.stat().st_size, compact.stat().st_size
    compact.unlink()
    [(observations,)] = destination.query("select count(*) from raw.patients")
    print(
        f"{len(current)} patients, {len(history)} versions, {observations} observations; "
        f"{size:,} bytes, of which {least:,} would do"
    )
    if size > 5 * least + 10_000_000:
        yield f"the file has {size} bytes, where {least} would do"


@contextmanager
def disk() -> Iterator[Path]:
    """Make a folder, on a small disk of its own if this user can mount one."""
    folder = Path(tempfile.mkdtemp(prefix="endurance-"))
    mounted = os.geteuid() == 0
    if mounted:
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={DISK}", "endurance", folder], check=True)
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["/bin/umount", "--lazy", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_after_any_accidents_a_quiet_run_completes_the_destination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, seed = int(os.environ.get("RUNS", "15")), int(os.environ.get("SEED", time.time()))
    random = Random(seed)  # noqa: S311 (no secret)
    accidents = ["SIGTERM", "SIGKILL", "SIGKILL of the first process", "outage", "moving"]
    if os.geteuid() == 0:
        accidents.append("full disk")
    # show each run as it ends, because all of them take long
    with capsys.disabled(), disk() as folder:
        print(f"\n{runs} runs, seed {seed}")
        service = Service(tmp_path / "toubib.sqlite")
        endurance = Endurance(Destination(folder / "data" / "patients.duckdb"), service, random)
        for number in range(1, runs + 1):
            endurance.run(number, random.choice(accidents) if random.random() < 0.5 else "quiet")
        # if only the first process was killed, the other processes of its run go on and keep the lock
        while "Another run" in (outcome := endurance.destination.run("run", API_BASEURL=service.api.url)).stdout:
            time.sleep(1)
        for (kind, exit_code), count in sorted(endurance.outcomes.items()):
            print(f"{count:4} {kind}, exit code {exit_code}")
        found = list(differences(endurance.destination, service.api, endurance.expected))
        service.kill()
    assert outcome.returncode == 0, outcome.stdout
    assert found == []
