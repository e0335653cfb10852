"""Signals to a command that runs Meltano: no process is left, whenever they come and whatever ignores them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import pytest

from toubib_connector import meltano as module


@pytest.fixture(autouse=True)
def _survive() -> Iterator[None]:
    """Ignore signals that reach the tests themselves; check that no process is left."""
    others = psutil.Process().children(recursive=True)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)
    # orphans are children of the machine's first process
    wait_until_gone({*psutil.Process().children(recursive=True), *find_sleepers()} - {*others})


def find_sleepers() -> list[psutil.Process]:
    # a number of seconds that no other program on the machine sleeps
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "20.25"]]


def wait_until_gone(processes: set[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=2)
    assert left == []


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_comes_while_meltano_is_being_started_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def start_and_stop(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        stop()
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_stop)
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["sleep", "10"])
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_also_ends_a_process_that_a_command_has_just_started(tmp_path: Path, signum: signal.Signals) -> None:
    begun = tmp_path / "begun"
    # Meltano ends at once, and leaves a dbt that has just begun behind
    command = ["bash", "-c", f"trap 'exit 0' TERM; (trap '' TERM; echo > {begun}; sleep 20.25; true) & wait"]

    def stop_when_begun() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    Timer(0, stop_when_begun).start()
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(command)
    assert ended.value.code == 128 + signum


def test_a_hang_up_that_nohup_ignores_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
    assert module.run_until_stopped(["sleep", "0.5"]) == 0
    signal.signal(signal.SIGHUP, before)


def test_a_process_that_ignores_a_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.2)
    Timer(0.5, stop).start()
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["bash", "-c", "trap '' TERM; sleep 20.25; true"])
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10
