"""The benchmark at its cheap end: what it measures with, not what it measures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import requests
from apis import Collection, fast_api, sqlite_api
from bench import Bench
from contenders import CONNECTOR
from report import Results, markdown, shown
from runs import LATENCY, bare, first_load, is_complete

if TYPE_CHECKING:
    from pathlib import Path

PATIENTS = 500


def test_what_is_measured_is_recorded_and_checked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path / "results.jsonl", [PATIENTS], repeat=1, section="limits")
    collection = Collection.made(tmp_path, PATIENTS)
    with fast_api(collection.path, latency=LATENCY) as api:
        bare(bench, api, collection)
        first_load(bench, CONNECTOR, api, collection)
    with sqlite_api(collection.path) as backed:
        bare(bench, backed, collection)

    rows = [json.loads(line) for line in bench.results.read_text().splitlines()]
    first, loaded, last = rows
    # pages of 100 that overlap by one, and one for the total
    assert first["requests"] == last["requests"] == 1 + 6
    assert 0 < first["seconds"] < loaded["loading"] < loaded["seconds"]
    assert loaded["is_complete"]
    assert {row["exit_code"] for row in rows} == {0}
    # the benchmark itself is larger than what only fetches
    assert first["megabytes"] < loaded["megabytes"]
    folder = bench.destination(CONNECTOR, PATIENTS)
    assert is_complete(CONNECTOR, folder, collection)
    collection.change(1)
    assert not is_complete(CONNECTOR, folder, collection)

    report = markdown(Results([*rows, {"section": "machine"}]))
    by_bare_client = loaded["loading"] / first["seconds"]
    assert f"fast, 40 ms: from first request to last row / bare client | 1.10 | {shown(by_bare_client)} |" in report
    assert "| 1,000 changes: list requests | 15 | not measured |  |" in report


def test_the_fast_api_moves_while_it_is_read(tmp_path: Path) -> None:
    with fast_api(Collection.made(tmp_path, PATIENTS).path) as api:
        api.ask("unrest", seed=1, every=2, times=2, updates=3, removals=1)
        query = {"sort_field": "id", "limit": "100"}
        pages = [
            requests.get(f"{api.url}/v1/patients", {**query, "offset": str(offset)}, timeout=60).json()
            for offset in range(0, PATIENTS, 100)
        ]
        ledger = api.ask("ledger", current=1)
        assert [page["meta"]["total_items"] for page in pages] == [500, 499, 499, 498, 498]
        assert len(ledger["removed"]) == 2
        assert ledger["removed"][0] not in map(int, ledger["current"])
        assert requests.get(f"{api.url}/v1/patients/{ledger['removed'][0]}", timeout=60).status_code == 404
        assert len(ledger["updated"]) <= 6
        query = {"sort_field": "updated_at", "sort_dir": "desc", "offset": "0", "limit": "100"}
        newest = requests.get(f"{api.url}/v1/patients", query, timeout=60).json()["data"]
        assert {row["id"] for row in newest[: len(ledger["updated"])]} == {*ledger["updated"]}
