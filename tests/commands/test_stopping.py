"""Signals to a command that runs Meltano: no process is left, whenever they come and whatever ignores them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from toubib_connector import meltano as module


@pytest.fixture(autouse=True)
def _survive() -> Iterator[None]:
    """Ignore signals that reach the tests themselves; check that no process is left."""
    others = psutil.Process().children(recursive=True)
    # SIGHUP, too, since `nohup make test` would leave it to be ignored
    before = {signum: signal.signal(signum, lambda *_: None) for signum in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)
    # orphans are children of the machine's first process
    _, left = psutil.wait_procs({*psutil.Process().children(recursive=True), *find_sleepers()} - {*others}, timeout=60)
    assert left == []


def find_sleepers() -> list[psutil.Process]:
    # a number of seconds that no other program on the machine sleeps
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "600.25"]]


def test_a_signal_that_comes_while_meltano_is_being_started_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def start_and_stop(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_stop)
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["sleep", "600.25"])
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_also_ends_a_process_that_a_command_has_just_started(signum: signal.Signals) -> None:
    # Meltano ends at once, and leaves a dbt that has just begun behind
    script = f"trap 'exit 0' TERM; (trap '' TERM; kill -{signum} $PPID; sleep 600.25; true) & wait"
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["bash", "-c", script])
    assert ended.value.code == 128 + signum


def test_a_hang_up_that_nohup_ignores_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert module.run_until_stopped(["bash", "-c", "kill -HUP $PPID; sleep 0.2"]) == 0
    signal.signal(signal.SIGHUP, before)


def test_a_process_that_ignores_a_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.2)
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["bash", "-c", "trap '' TERM; kill -TERM $PPID; sleep 600.25; true"])
    assert ended.value.code == 128 + signal.SIGTERM
