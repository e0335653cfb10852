"""Errors that a benchmark could hide: completeness, comparisons, counts, failing sections."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import bench
import duckdb
import pytest
import requests
from click.testing import CliRunner
from contenders import CONNECTOR, Contender
from correctness import DOUBLED, FAILED, LOST, UNDELETED, UNUSUAL, changes_during_load, faults, values
from fast_api import Service, serve
from measure import Cost
from report import Results, page
from runs import is_complete, load, read_pages
from session import FIRST_LOAD, Bench

from tap_toubib.testing import Api, serving

PATIENTS = 500
LONG_AGO = "2024-01-01T00:00:00.000000Z"


@dataclass(frozen=True)
class Careless(Contender):
    """Reads the pages once by id, holds one patient twice, and strips names."""

    name: str = "careless"
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    current: str = "from patients"
    rows: list[dict[str, Any]] = field(default_factory=list)

    def load(self, url: str, folder: Path, *options: str) -> Cost:  # noqa: ARG002
        for offset in range(0, 0 if self.rows else PATIENTS, 100):
            query = {"sort_field": "id", "sort_dir": "asc", "offset": str(offset), "limit": "100"}
            answer = requests.get(f"{url}/v1/patients", query, timeout=60)
            if answer.ok:
                self.rows.extend(row | {"first_name": row["first_name"].strip()} for row in answer.json()["data"])
        return Cost(1, 1, 1, 0, None)

    def query(self, folder: Path, sql: str) -> list[tuple[Any, ...]]:  # noqa: ARG002
        rows = [*self.rows, self.rows[0]]
        ids = [row["id"] for row in rows]
        instants = [row["updated_at"].replace("T", " ").rstrip("Z") for row in rows]
        names = [[row[name] for row in rows] for name in ("first_name", "last_name")]
        held = "select unnest(?) as id, unnest(?) as changed_at, unnest(?) as first_name, unnest(?) as last_name"
        with duckdb.connect() as connection:
            return connection.execute(f"with held as ({held}) {sql}", [ids, instants, *names]).fetchall()


def make_api() -> Api:
    api = Api()
    for key in range(1, PATIENTS + 1):
        api.add(key, updated_at=LONG_AGO, first_name="Ann", last_name="Doe", total_visits=0)
    return api


def random(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (no secret)


def count(losses: Iterable[tuple[str, str, int, int]]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(kind, detail): (number, whole) for kind, detail, number, whole in losses}


def test_a_destination_is_complete_with_each_patient_once_and_the_newest_change(tmp_path: Path) -> None:
    api, contender = make_api(), Careless()
    with serving(api):
        contender.load(api.url, tmp_path)
        # one patient is in the destination twice
        assert not is_complete(contender, tmp_path, Service(api.url, PATIENTS))
        assert is_complete(contender, tmp_path, Service(api.url, PATIENTS + 1))
        api.rows[7]["updated_at"] = "2024-01-02T00:00:00.000000Z"
        assert not is_complete(contender, tmp_path, Service(api.url, PATIENTS + 1))


@pytest.mark.complete
def test_a_load_and_its_part_before_the_build_are_measured(tmp_path: Path) -> None:
    measured = Bench(tmp_path, tmp_path / "results.jsonl", [PATIENTS], repeat=1, section="growth")
    with serve(PATIENTS, latency=0.04) as service:
        seconds = read_pages(service.url)
        # pages of 100 that overlap by one
        assert service.count_requests() == 6
        load(measured, CONNECTOR, service, FIRST_LOAD)
        service.change(1)
        assert service.newest_update() == "2025-01-01 00:00:00.000000"
    [loaded] = map(json.loads, measured.results.read_text().splitlines())
    assert loaded["is_complete"]
    assert loaded["requests"] >= 6
    assert seconds < loaded["loading"] < loaded["seconds"]


def test_repetitions_are_compared_in_turn() -> None:
    runs = [
        {
            "what": FIRST_LOAD,
            "contender": name,
            "patients": 1_000_000,
            "seconds": seconds,
            "cpu": cpu,
            "is_complete": cpu < 3,
        }
        for name, seconds, cpu in (
            ("connector", 1.0, 3.0),
            ("dlt", 2.0, 1.0),
            ("dlt", 1.0, 1.0),
            ("connector", 4.0, 1.0),
            ("connector", 3.0, 1.0),
            ("dlt", 4.0, 1.0),
        )
    ]
    report = page(Results([*runs, {"versions": {}}]))
    assert "| first load of 1,000,000 / dlt's | 0.50 | 0.75 | **no** |" in report
    assert "| the same, CPU | 0.60 | 1 | **no** |" in report
    assert "| first load of 10,000 / dlt's | 3.50 | not measured |  |" in report
    assert "| runs that left a destination incomplete | 0 | 1 | **no** |" in report


def test_a_section_that_fails_leaves_the_others_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Bench) -> None:
        raise RuntimeError

    def measure(section: Bench) -> None:
        section.record(kind=LOST, detail="after a kill", contender="connector", count=0, whole=1)

    monkeypatch.setattr(bench, "SECTIONS", {"growth": fail, "correctness": measure})
    results = tmp_path / "results"
    results.mkdir()
    (results / "results.jsonl").write_text('{"section": "growth", "what": "of an older release"}\n')
    ended = CliRunner().invoke(bench.main, [f"--results={results}", f"--folder={tmp_path}"])
    assert "Failed: growth" in ended.output
    assert ended.exit_code == 1
    assert f"| {LOST} | 0 | 0 | yes |" in (results / "results.md").read_text()
    assert "older" not in (results / "results.jsonl").read_text()
    assert (results / "results.svg").read_text().startswith("<svg")


def test_losses_are_counted(tmp_path: Path) -> None:
    api, contender = make_api(), Careless()
    with serving(api):
        losses = count(changes_during_load(contender, api, tmp_path, random(1)))
    held = {row["id"]: row["updated_at"] for row in contender.rows}
    source = {row["id"]: row["updated_at"] for row in api.rows}
    assert len(source) == PATIENTS - 10
    lost = [losses[LOST, f"{kind} during a first load"] for kind in ("changed", "unchanged")]
    # changes with the fourth page are read from the pages that follow, and removals move patients to pages before it
    assert 0 < lost[0][0] < lost[0][1] <= 20
    assert lost[1][0] > 0
    assert sum(number for number, _ in lost) == sum(held.get(key, "") < at for key, at in source.items())
    undeleted = [losses[UNDELETED, when] for when in ("during a first load", "between two runs")]
    assert [whole for _, whole in undeleted] == [5, 5]
    assert sum(number for number, _ in undeleted) == len(held.keys() - source.keys())
    assert losses[DOUBLED, "after changes during a first load"] == (1, len(held))
    assert losses[FAILED, ""] == (0, 1)


def test_patients_are_lost_when_requests_fail_and_values_are_compared(tmp_path: Path) -> None:
    api = make_api()
    with serving(api):
        # the last of five requests fails
        assert (LOST, "while requests failed", 100, PATIENTS) in faults(Careless(), api, tmp_path, random(6))
        api.before_each = lambda: None
        [_, (*_, altered, whole)] = values(Careless(), api, tmp_path, random(1))
    assert (altered, whole) == (3, 2 * len(UNUSUAL))
