from __future__ import annotations

import json
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_toubib.tap import TapToubib
from tap_toubib.testing import Api

Tap = Callable[..., subprocess.CompletedProcess[str]]

SETTINGS = {
    *("api_url", "auth_token", "start_date", "page_size", "lookback_seconds", "full_refresh", "known_ids_file"),
    *("max_deleted_percent", "max_parallel_requests", "user_agent", "request_timeout"),
}


@pytest.fixture
def tap(tmp_path: Path) -> Tap:
    """Run the command; keyword arguments become files that are given to it as options."""

    def tap(*args: str, preexec_fn: Callable[[], None] | None = None, **files: Any) -> subprocess.CompletedProcess[str]:
        for name, content in files.items():
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(content))
            # the options must come before `--discover`
            args = (f"--{name}", str(path), *args)
        command = [sys.executable, "-m", "tap_toubib", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, preexec_fn=preexec_fn)

    return tap


def in_files(folder: Path) -> dict[str, Any]:
    return {"encoding": {"format": "jsonl", "compression": "none"}, "storage": {"root": str(folder)}}


def types(output: str) -> list[tuple[str, str | None]]:
    return [(each["type"], each.get("stream")) for each in map(json.loads, output.splitlines())]


def last_state(output: str) -> Any:
    return [each["value"] for each in map(json.loads, output.splitlines()) if each["type"] == "STATE"][-1]


def assert_failed_with_one_line(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert {kind for kind, _ in types(done.stdout)} <= {"SCHEMA"}
    [line] = [line for line in done.stderr.splitlines() if "CRITICAL" in line]
    for text in expected:
        assert text in line


def test_about_lists_every_setting(tap: Tap) -> None:
    done = tap("--about", "--format", "json")
    assert done.returncode == 0
    about = json.loads(done.stdout)
    assert about["settings"]["properties"].keys() >= SETTINGS
    assert about["settings"]["required"] == ["api_url"]
    assert about["settings"]["properties"]["auth_token"]["secret"]


def test_discovery_prints_the_catalog(tap: Tap, api: Api) -> None:
    done = tap("--discover", config={"api_url": api.url})
    assert done.returncode == 0
    streams = {each["stream"]: each for each in json.loads(done.stdout)["streams"]}
    assert list(streams) == ["patients", "rejected_records", "syncs"]
    assert streams["patients"]["key_properties"] == ["id"]
    assert streams["patients"]["replication_key"] == "updated_at"
    assert streams["patients"]["replication_method"] == "INCREMENTAL"
    columns = {"id", "created_at", "updated_at", "_sdc_deleted_at", "_sdc_sync_started_at"}
    assert streams["patients"]["schema"]["properties"].keys() == columns
    assert not api.pages


def test_connection_test_reads_one_patient_and_leaves_no_file_behind(tap: Tap, api: Api, tmp_path: Path) -> None:
    for key in range(1, 29):
        api.add(key)
    api.rows[-1]["updated_at"] = "soon"
    folder = tmp_path / "batches"
    done = tap("--test", config={"api_url": api.url, "batch_config": in_files(folder), "page_size": 5})
    assert done.returncode == 0
    assert types(done.stdout).count(("RECORD", "patients")) == 1
    assert "ERROR" not in done.stderr
    assert len(api.pages) <= 2
    assert not folder.exists() or not [*folder.iterdir()]


@pytest.mark.parametrize("token", ["s3cret\n", "s3\r\ncret", "s3cret\u20ac", "s3cret\x00"], ids=ascii)
def test_token_that_no_header_can_hold_ends_with_one_line_that_does_not_show_it(tap: Tap, api: Api, token: str) -> None:
    done = tap(config={"api_url": api.url, "auth_token": token})
    assert_failed_with_one_line(done, "auth_token")
    assert "s3" not in done.stderr
    assert not api.requests


@pytest.mark.parametrize("state", ["", '{"bookmarks":', '{"bookmarks": {"patients": null}}'], ids=str)
def test_damaged_state_ends_with_one_line(tap: Tap, api: Api, tmp_path: Path, state: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(state)
    assert_failed_with_one_line(tap("--state", str(path), config={"api_url": api.url}), "The state")
    assert not api.pages


def test_run_from_files_goes_on_from_the_state(tap: Tap, api: Api) -> None:
    for key in range(1, 5):
        api.add(key)
    config = {"api_url": api.url, "page_size": 3}
    catalog = TapToubib(config=config).catalog_dict
    first = tap(config=config, catalog=catalog)
    state = last_state(first.stdout)
    second = tap(config=config, catalog=catalog, state=state)
    assert (first.returncode, second.returncode) == (0, 0)
    assert types(first.stdout).count(("RECORD", "patients")) == 4
    assert types(second.stdout).count(("RECORD", "patients")) == 0
    last = last_state(second.stdout)
    for each in (state, last):
        assert each["bookmarks"]["patients"].pop("synced_at")
    assert last == state


@pytest.mark.parametrize(
    ("config", "args", "setting"),
    [
        ({}, (), "api_url"),
        ({"api_url": "http://toubib:8000", "page_size": 1}, (), "page_size"),
        ({"api_url": "http://toubib:8000", "start_date": "soon"}, (), "start_date"),
        ({"api_url": "http://toubib:8000", "start_date": "0001-01-01T00:00:00+05:00"}, (), "start_date"),
        ({"api_url": "http://toubib:8000", "lookback_seconds": 10**9}, (), "lookback_seconds"),
        ({"api_url": "toubib:8000"}, (), "api_url"),
        ({"api_url": "toubib:8000"}, ("--discover",), "api_url"),
        ({"api_url": "toubib:8000"}, ("--test",), "api_url"),
    ],
    ids=["missing", "page of one", "no date", "before time", "ages", "no URL", "discover", "test"],
)
def test_configuration_that_makes_no_sense_is_explained_without_a_traceback(
    tap: Tap, config: dict[str, Any], args: tuple[str, ...], setting: str
) -> None:
    done = tap(*args, config=config)
    assert done.returncode == 1
    assert done.stdout == ""
    assert setting in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("args", [(), ("--discover",), ("--test",)], ids=["run", "discover", "test"])
def test_api_that_refuses_ends_with_one_line(tap: Tap, api: Api, args: tuple[str, ...]) -> None:
    api.fail(401)
    done = tap(*args, config={"api_url": api.url, "auth_token": "s3cret"})
    assert_failed_with_one_line(done, f"GET {api.url}/openapi.json answered 401 Unauthorized: check auth_token")
    assert "s3cret" not in done.stderr
    [request] = api.requests
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.headers["User-Agent"].startswith("tap-toubib/")


def test_files_can_be_read_by_their_owner_only(tap: Tap, api: Api, tmp_path: Path) -> None:
    api.add(1)
    api.add(2, updated_at="soon")
    folder = tmp_path / "batches"
    assert tap(config={"api_url": api.url, "batch_config": in_files(folder)}).returncode == 0
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600, 0o600]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folder_that_cannot_be_made_is_named_in_one_line(tap: Tap, api: Api, tmp_path: Path) -> None:
    api.add(1)
    (tmp_path / "text").touch()
    folder = tmp_path / "text" / "batches"
    done = tap(config={"api_url": api.url, "batch_config": in_files(folder)})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if "CRITICAL" in line]
    assert line.endswith(f"{folder}: Not a directory")


def test_full_disk_ends_with_one_line_and_the_next_run_goes_on(tap: Tap, api: Api, tmp_path: Path) -> None:
    for key in range(1, 29):
        api.add(key)
    config = {"api_url": api.url, "batch_config": in_files(tmp_path / "b")}
    # a limit on the size of files has the effect of a full disk
    limit = (1_000, 1_000)
    done = tap(config=config, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if "CRITICAL" in line]
    assert line.endswith("Cannot write: File too large")
    assert [*(tmp_path / "b").iterdir()] == []
    assert ("BATCH", "patients") not in types(done.stdout)
    assert ("BATCH", "patients") in types(tap(config=config).stdout)


def test_settings_that_are_null_count_as_not_set(tap: Tap, api: Api) -> None:
    api.add(1)
    done = tap(config=dict.fromkeys([*SETTINGS, "batch_config", "stream_maps"]) | {"api_url": api.url})
    assert done.returncode == 0, done.stderr
    assert types(done.stdout).count(("RECORD", "patients")) == 1
