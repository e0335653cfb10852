"""Progress of a long scan."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

INTERVAL = 2
"""Seconds between two lines."""


class Progress:
    """Logs the progress of one scan, at most once in an interval."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._began_at = self._logged_at = time.monotonic()
        self._began_with: int | None = None

    def report(self, done: int, total: int | None = None) -> None:
        """Log how many patients were read and how fast, and the time left if the total is known."""
        now = time.monotonic()
        if self._began_with is None:
            self._began_with = done
        if now - self._logged_at < INTERVAL:
            return
        self._logged_at = now
        rate = (done - self._began_with) / (now - self._began_at) if now > self._began_at else 0
        # the API may have counted before patients came or were deleted
        total = None if total is None else max(total, done)
        fields = {"done": done, "total": total, "rate": rate}
        if total is None:
            self._logger.info("%d changes read, %d a second", done, rate, extra=fields)
            return
        left = timedelta(seconds=round((total - done) / rate)) if rate > 0 else "unknown"
        message = "%d of %d patients (%d %%), %d a second, time left: %s"
        self._logger.info(message, done, total, 100 * done // total, rate, left, extra=fields)
