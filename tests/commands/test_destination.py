"""The DuckDB file: who may write to it, and what tools are told that it is called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import duckdb
import pytest

from toubib_connector import destination as module
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure

HOLD_AND_START_ANOTHER = """
import subprocess, sys, time
from pathlib import Path
from toubib_connector.destination import Destination
with Destination(Path(sys.argv[1])).lock():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def test_of_two_runs_the_second_leaves(destination: Destination) -> None:
    with destination.lock(), pytest.raises(Failure, match=f"Another run is writing to {destination.path}"):
        destination.lock().__enter__()
    with destination.lock():
        pass


def test_what_outlives_a_killed_run_keeps_the_lock(destination: Destination) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_START_ANOTHER, destination.path], stdout=subprocess.PIPE, text=True
    )
    with killed:
        assert killed.stdout
        child = int(killed.stdout.readline())
        killed.kill()
    try:
        with pytest.raises(Failure, match="Another run is writing to"):
            destination.lock().__enter__()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "name", ["a.prod.duckdb", ".hidden.duckdb", "%41 $HOME {{x}} é~ \\n=,&.duckdb", "md", "patients"]
)
@pytest.mark.parametrize("folder", ["plain", "%41 #1 'quoted' \"$HOME\" é"])
def test_tools_open_the_file_by_a_path_in_which_they_see_nothing_but_names(
    tmp_path: Path, folder: str, name: str
) -> None:
    destination = Destination(tmp_path / folder / name)
    killed = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.sql('create table kept as select 1'); os._exit(0)"
    )
    with destination.lock():
        path = destination.tools_folder / "scratch" / name
        assert not set("'\"#%$") & set(str(path.parent))
        subprocess.run([sys.executable, "-c", killed, path], check=True)
        # what a killed process wrote stands beside the file, not beside the link, which goes with the run
        assert Path(f"{destination.path}.wal").exists()
        assert destination.tools_folder == Destination(tmp_path / folder / name).tools_folder
    assert destination.tools_folder.exists() == (destination.tools_folder == destination.work_folder)
    with duckdb.connect(str(destination.path), read_only=True) as connection:
        assert connection.sql("from kept").fetchall() == [(1,)]


def test_a_killed_run_leaves_nothing_that_keeps_the_next_one_from_its_folders(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "%41" / "x.duckdb")
    lock = destination.lock()
    lock.__enter__()
    (destination.scratch / "patients.jsonl").write_text("a patient")
    left = destination.tools_folder
    del lock
    assert left.is_symlink() or not left.exists()
    with destination.lock():
        assert not (destination.scratch / "patients.jsonl").exists()
        assert left.resolve() == destination.work_folder


def test_a_run_waits_for_a_reader_to_close_the_file(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.1)
    duckdb.connect(str(destination.path)).close()
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(); input()",
            destination.path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with reader:
        assert reader.stdout
        assert reader.stdin
        reader.stdout.readline()
        monkeypatch.setattr(module, "LOCK_TIMEOUT", 0)
        with pytest.raises(Failure, match=rf"\(PID {reader.pid}\) has {destination.path} open"):
            destination.lock().__enter__()
        monkeypatch.setattr(module, "LOCK_TIMEOUT", 30)
        Timer(0.5, reader.stdin.close).start()
        with destination.lock():
            pass
    assert f"(PID {reader.pid}) to close {destination.path}" in capsys.readouterr().out


def test_in_a_container_the_paths_of_the_host_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUBIB_HOST_FOLDER", "/home/me/data")
    destination = Destination(Path("/data/x.duckdb"))
    assert str(destination.shown()) == "/home/me/data/x.duckdb"
    assert str(destination.shown(destination.work_folder / "run.log")) == "/home/me/data/x.duckdb.work/run.log"


def test_a_file_that_is_not_a_database_stays_as_it_is(destination: Destination) -> None:
    destination.path.write_text("no database\n" * 1000)
    with pytest.raises(Failure, match=f"Cannot open {destination.path}"):
        destination.lock().__enter__()
    assert destination.path.read_text() == "no database\n" * 1000
