"""Signals to a command that runs Meltano: nothing of it is left, whenever they come and whatever ignores them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from threading import Timer
from typing import Any

import psutil
import pytest

from toubib_connector import meltano as module


@pytest.fixture(autouse=True)
def _survive() -> Iterator[None]:
    """Have a signal that reaches the tests themselves do nothing; hold that no process is left."""
    others = psutil.Process().children(recursive=True)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)
    assert {*psutil.Process().children(recursive=True)} <= {*others}


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


def test_what_ignores_a_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.2)
    Timer(0.5, stop).start()
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        module.run_until_stopped(["bash", "-c", "trap '' TERM; sleep 20; true"])
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10
