"""Files of records: their content, their lifetime, and streams that leave as records instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from singer_sdk import Stream
from singer_sdk.exceptions import ConfigurationError, RetriableAPIError

from tap_toubib import batch_files
from tap_toubib.streams.patients import PatientsStream
from tap_toubib.tap import TapToubib
from tap_toubib.testing import Api, Row, day, fill

Run = Callable[..., list[Row]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made on the way" / "of batches"


@pytest.fixture
def run(api: Api, capsysbinary: pytest.CaptureFixture[bytes], folder: Path) -> Run:
    """Run the tap, and return its messages."""

    def run(state: Row | None = None, batch: Row | None = None, **config: Any) -> list[Row]:
        capsysbinary.readouterr()
        encoding = {"format": "jsonl", "compression": "none"}
        batch_config = {"encoding": encoding, "storage": {"root": folder.as_uri()}} | (batch or {})
        TapToubib(config={"api_url": api.url, "batch_config": batch_config, **config}, state=state).sync_all()
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    return run


def batches(messages: list[Row], stream: str = "patients") -> list[Path]:
    """Return the files of a stream."""
    named = [each for each in messages if each["type"] == "BATCH" and each["stream"] == stream]
    return [Path(unquote(urlsplit(url).path)) for each in named for url in each["manifest"]]


def test_file_holds_one_patient_a_line(api: Api, run: Run, folder: Path) -> None:
    fill(api, 3)
    messages = run()
    [path] = batches(messages)
    assert path.parent == folder
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert {len(record.pop("_sdc_extracted_at")) for record in records} == {len("2024-01-01T00:00:00.000000Z")}
    [sync] = [each["record"] for each in messages if each["type"] == "RECORD"]
    assert {record.pop("_sdc_sync_started_at") for record in records} == {sync["started_at"]}
    assert records == [{"id": key, "created_at": day(key), "updated_at": day(key)} for key in (1, 2, 3)]
    [encoding] = [each["encoding"] for each in messages if each["type"] == "BATCH"]
    assert encoding == {"format": "jsonl", "compression": "none"}
    assert {each["stream"] for each in messages if each["type"] == "RECORD"} == {"syncs"}


def test_each_file_is_followed_by_a_state_and_files_grow_with_the_run(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_files, "FIRST_FILE_RECORDS", 40)
    for key in range(1, 1_001):
        api.add(key, created_at=day(1), updated_at=day(1))
    messages = run(page_size=10)
    kinds = [each["type"] for each in messages]
    assert all(kinds[place + 1] == "STATE" for place, kind in enumerate(kinds) if kind == "BATCH")
    sizes = [len(path.read_bytes().splitlines()) for path in batches(messages)]
    assert sum(sizes) >= 1_000
    assert sizes[0] < 50
    written = [sum(sizes[:place]) for place in range(len(sizes))]
    assert all(size < max(40, before // 4) + 10 for size, before in zip(sizes, written, strict=True))
    assert max(sizes) > 150


def test_slow_source_fills_no_file_and_is_checkpointed_all_the_same(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_files, "LONGEST_WAIT", 0)
    fill(api, 20)
    messages = run(page_size=5)
    assert len(batches(messages)) > 4
    states = [each["value"]["bookmarks"]["patients"] for each in messages if each["type"] == "STATE"]
    assert [state["checkpoint"]["last_id"] for state in states if "checkpoint" in state][:4] == [5, 9, 13, 17]


def test_only_files_of_a_killed_run_are_removed(api: Api, run: Run, folder: Path) -> None:
    fill(api, 3)
    folder.mkdir(parents=True)
    (folder / "tap-toubib-patients-0-000001.jsonl").touch()
    (folder / "tap-toubib-rejected_records-0-000001.jsonl.gz").touch()
    (folder / "notes.jsonl").touch()
    [path] = batches(run())
    assert {each.name for each in folder.iterdir()} == {path.name, "notes.jsonl"}


def test_file_that_was_not_handed_over_does_not_outlive_the_run(api: Api, run: Run, folder: Path) -> None:
    fill(api, 20)
    api.before[4] = api.fail
    with pytest.raises(RetriableAPIError):
        run(page_size=5, max_parallel_requests=1)
    assert [*folder.iterdir()] == []


def test_names_of_files_differ_from_run_to_run(api: Api, run: Run) -> None:
    fill(api, 3)
    assert batches(run()) != batches(run())


def test_folder_may_be_named_by_a_path_and_the_files_by_a_prefix(api: Api, run: Run, folder: Path) -> None:
    fill(api, 3)
    [path] = batches(run(batch={"storage": {"root": str(folder), "prefix": "a-"}}))
    assert path.parent == folder
    assert path.name.startswith("a-tap-toubib-patients-")


@pytest.mark.parametrize(
    ("maps", "in_files"),
    [
        ({"patients": {"email": "'none'"}}, ["rejected_records"]),
        ({"patients": {"__alias__": "people"}}, ["rejected_records"]),
        ({"patients": {"__filter__": "id > 1"}}, ["rejected_records"]),
        ({"rejected_records": {"record": "'none'"}}, ["patients"]),
        ({"syncs": {"api_url": "'none'"}}, ["patients", "rejected_records"]),
    ],
    ids=str,
)
def test_stream_that_a_map_changes_leaves_as_records(api: Api, run: Run, maps: Row, in_files: list[str]) -> None:
    fill(api, 3)
    api.rows[1]["updated_at"] = "soon"
    messages = run(stream_maps=maps)
    assert {each["stream"] for each in messages if each["type"] == "BATCH"} == set(in_files)
    in_records = {each["stream"] for each in messages if each["type"] == "RECORD"}
    renamed = {maps["patients"].get("__alias__", "patients")} if "patients" in maps else {"rejected_records"} & {*maps}
    assert in_records == {"syncs"} | renamed


@pytest.mark.parametrize(
    "batch",
    [
        {"encoding": {"format": "parquet"}},
        {"encoding": {"format": "jsonl", "compression": "gzip"}},
        {"storage": {"root": "s3://bucket/batches"}},
        {"storage": {"root": "batches"}},
        {"storage": {"root": "file://elsewhere/batches"}},
    ],
    ids=str,
)
def test_files_that_cannot_be_written_are_refused(api: Api, run: Run, batch: Row) -> None:
    with pytest.raises(ConfigurationError, match=r"^batch_config: files are only written to a folder [^\n]*$"):
        run(batch=batch)
    assert not api.pages


def test_hooks_of_the_sdk_that_are_not_public_are_there() -> None:
    """They are as in singer-sdk 0.54.9: look for public ones with each release."""
    overridden = {name for name in vars(PatientsStream) if name.startswith(("_write", "_increment"))}
    called = {"_write_schema_message", "_write_record_message", "_write_batch_message"}
    assert overridden | called <= {*vars(Stream)}
