"""How far a long load has come, at a humane rate."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

INTERVAL = 10
"""Seconds between two lines."""


class Progress:
    """Reports the progress of one load."""

    def __init__(self, logger: logging.Logger) -> None:
        """Begin; nothing is said before an interval has passed."""
        self._logger = logger
        self._begun_at = self._said_at = time.monotonic()
        self._begun_with: int | None = None

    def report(self, done: int, total: int) -> None:
        """Log how many patients were read, how fast, and how long the rest will take."""
        now = time.monotonic()
        if self._begun_with is None:
            self._begun_with = done
        if now - self._said_at < INTERVAL:
            return
        self._said_at = now
        # more came, or most vanished, since they were counted
        total = max(total, done)
        rate = (done - self._begun_with) / (now - self._begun_at)
        left = timedelta(seconds=round((total - done) / rate)) if rate > 0 else "unknown"
        self._logger.info(
            "%d of %d patients (%d %%), %d a second, time left: %s", done, total, 100 * done // total, rate, left
        )
