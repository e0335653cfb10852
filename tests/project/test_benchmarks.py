"""The benchmark at its cheap end: what it measures with, not what it measures."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import bench
import duckdb
import pytest
import requests
from apis import Collection, serve
from click.testing import CliRunner
from contenders import CONNECTOR, Contender
from correctness import HOSTILE, faults, unrest, values
from measure import Cost
from report import Results, page, picture, shown
from runs import FIRST_LOAD, LATENCY, find_steps, is_complete, load, load_alone, read_pages
from session import Bench

from tap_toubib.testing import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PATIENTS = 500
NEVER = "2024-01-01T00:00:00Z"


@dataclass(frozen=True)
class Careless(Contender):
    """Reads by id, page after page, once; it holds one patient twice, and takes empty names for none."""

    name: str = "careless"
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    current: str = "from patients"
    rows: list[dict[str, Any]] = field(default_factory=list)

    def load(self, url: str, folder: Path) -> Cost:  # noqa: ARG002
        for offset in range(0, 0 if self.rows else PATIENTS, 100):
            query = {"sort_field": "id", "sort_dir": "asc", "offset": str(offset), "limit": "100"}
            answer = requests.get(f"{url}/v1/patients", query, timeout=60)
            if answer.ok:
                self.rows.extend(row | {"first_name": row["first_name"] or None} for row in answer.json()["data"])
        return Cost(1, 1, 1, 0, 0, 0)

    def query(self, folder: Path, sql: str) -> list[tuple[Any, ...]]:  # noqa: ARG002
        with duckdb.connect() as connection:
            connection.execute(
                "create table held (id bigint, changed_at varchar, first_name varchar, last_name varchar)"
            )
            held = [
                (row["id"], row["updated_at"].replace("T", " ").rstrip("Z"), row["first_name"], row["last_name"])
                for row in [*self.rows, self.rows[0]]
            ]
            connection.executemany("insert into held values (?, ?, ?, ?)", held)
            return connection.sql(sql).fetchall()


def an_api() -> Api:
    api = Api()
    for key in range(1, PATIENTS + 1):
        api.add(key, updated_at=NEVER, first_name="Ann", last_name="Doe", total_visits=0)
    return api


def random(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (no secret)


def counted(losses: Iterable[tuple[str, str, int, int]]) -> dict[str, tuple[int, int]]:
    return {f"{kind} {detail}".strip(): (count, whole) for kind, detail, count, whole in losses}


@pytest.mark.complete
def test_a_first_load_is_measured_beside_its_bounds(tmp_path: Path) -> None:
    measured = Bench(tmp_path, tmp_path / "results.jsonl", [PATIENTS], repeat=1, section="growth")
    collection = Collection.made(tmp_path, PATIENTS)
    with serve(collection.path, latency=None) as bundled:
        assert read_pages(bundled.url) > 0
        assert bundled.count_requests() is None
    with serve(collection.path) as fast:
        load_alone(measured, fast, collection)
    with serve(collection.path, latency=LATENCY) as slow:
        seconds = read_pages(slow.url)
        # pages of 100 that overlap by one
        assert slow.count_requests() == 6
        measured.record(
            what=f"{FIRST_LOAD}, {slow.name}", contender="bare client", seconds=seconds, loading=2 * seconds
        )
        cost = load(measured, CONNECTOR, slow, collection, f"{FIRST_LOAD}, {slow.name}")
        collection.change(1)
        slow.notice_changes()
        query = {"sort_field": "updated_at", "sort_dir": "desc", "offset": "0", "limit": "1"}
        answer = requests.get(f"{slow.url}/v1/patients", query, timeout=60).json()
        assert answer["data"][0]["updated_at"] == "2025-01-01T01:00:00.000000Z"

    alone, _, loaded = [json.loads(line) for line in measured.results.read_text().splitlines()]
    assert 0 < alone["loading_cpu"] < alone["cpu"]
    assert seconds < loaded["loading"] < loaded["seconds"]
    assert loaded["is_complete"]
    folder = measured.destination(CONNECTOR, PATIENTS)
    assert not is_complete(CONNECTOR, folder, collection)

    steps = find_steps((folder / "patients.duckdb.work/run.log").read_text(), cost)
    assert abs(sum(steps.values()) - cost.seconds) < 0.001
    assert min(steps.values()) > 0
    measured.record(what="run without change", seconds=cost.seconds, steps=steps)
    measured.record(versions={"duckdb": "1.5.6"})

    results = Results([json.loads(line) for line in measured.results.read_text().splitlines()])
    report = page(results)
    ratio = loaded["loading"] / (2 * seconds)
    text = "extraction and loading / bare client and start-ups of Meltano, tap and loader"
    assert f"| first load of 500, 40 ms a page: {text} | 1.10 | {shown(ratio)} |" in report
    assert "| periodic run, 1,000 changes: list requests, at most | 15 | not measured |  |" in report
    assert f"| dbt: import | {steps['dbt: import']:.1f} |" in report
    assert picture(results).startswith("<svg")


def test_what_was_measured_in_turn_is_compared() -> None:
    runs = [
        {"what": FIRST_LOAD, "contender": name, "patients": 100_000, "seconds": seconds, "cpu": cpu}
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
    assert "| first load of 100,000, fast API: whole run / dlt | 0.75 | 0.75 | yes |  |" in report
    assert "| first load of 100,000, fast API: CPU of the whole run / dlt's | 1.60 | 1 | yes |  |" in report


def test_a_section_that_fails_leaves_the_others_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Bench) -> None:
        raise RuntimeError("What was to be measured failed")

    def measure(section: Bench) -> None:
        section.record(kind="refused starts", detail="after a kill", contender="connector", count=0, whole=1)

    monkeypatch.setattr(bench, "SECTIONS", {"growth": fail, "correctness": measure})
    results = tmp_path / "results"
    results.mkdir()
    (results / "results.jsonl").write_text('{"section": "limits", "what": "of an older release"}\n')
    ended = CliRunner().invoke(bench.main, [f"--results={results}", f"--folder={tmp_path}"])
    assert "Not measured to the end: growth" in ended.output
    assert ended.exit_code == 1
    assert (
        "| refused starts | 0 | 0 | yes | dlt not measured, plain not measured |"
        in (results / "results.md").read_text()
    )
    assert "older" not in (results / "results.jsonl").read_text()


def test_losses_are_counted(tmp_path: Path) -> None:
    api, contender = an_api(), Careless()
    with serving(api):
        found = counted(unrest(contender, api, tmp_path, random(1)))
    held = {row["id"]: row["updated_at"] for row in contender.rows}
    source = {row["id"]: row["updated_at"] for row in api.rows}
    assert len(source) == PATIENTS - 10
    never_seen = [found[f"rows never seen {when}"] for when in ("changed during a first load", "not changed during it")]
    # of the fourth page on, all changes are seen, and removals have moved others to pages that were read already
    assert 0 < never_seen[0][0] < never_seen[0][1] <= 20
    assert never_seen[1][0] > 0
    assert sum(missed for missed, _ in never_seen) == sum(held.get(key, "") < at for key, at in source.items())
    unseen = [found[f"deletions unseen {when}"] for when in ("during a first load", "between two runs")]
    assert [whole for _, whole in unseen] == [5, 5]
    assert sum(count for count, _ in unseen) == len(held.keys() - source.keys())
    assert found["two current rows after changes during a first load"] == (1, len(held))
    assert found["failed runs"] == (0, 1)


def test_rows_are_missed_when_requests_fail_and_values_when_they_change(tmp_path: Path) -> None:
    api = an_api()
    with serving(api):
        # the last of five requests fails
        found = counted(faults(Careless(), api, tmp_path, random(6)))
        assert found["rows never seen while requests failed"] == (100, PATIENTS)
        api.before_each = lambda: None
        found = counted(values(Careless(), api, tmp_path, random(1)))
    assert found["values changed on the way"] == (1, 2 * len(HOSTILE))
