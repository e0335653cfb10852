"""How far a long scan has come."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

INTERVAL = 2
"""Seconds between two lines."""


class Progress:
    """Reports the progress of one scan, once an interval."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._began_at = self._said_at = time.monotonic()
        self._began_with: int | None = None

    def report(self, done: int, total: int | None = None) -> None:
        """Log how many patients were read and how fast; how long the rest will take, if the total is known."""
        now = time.monotonic()
        if self._began_with is None:
            self._began_with = done
        if now - self._said_at < INTERVAL:
            return
        self._said_at = now
        rate = (done - self._began_with) / (now - self._began_at) if now > self._began_at else 0
        known: dict[str, float | None] = {"done": done, "total": total, "rate": rate}
        if total is None:
            self._logger.info("%d changes read, %d a second", done, rate, extra=known)
            return
        # more came, or most were deleted, since they were counted
        known["total"] = total = max(total, done)
        left = timedelta(seconds=round((total - done) / rate)) if rate > 0 else "unknown"
        percent = 100 * done // total
        message = "%d of %d patients (%d %%), %d a second, time left: %s"
        self._logger.info(message, done, total, percent, rate, left, extra=known)
