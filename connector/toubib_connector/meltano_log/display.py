"""Shows the progress of a run, and keeps the reason of a failed one for the command that started Meltano."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from meltano.core.logging import console_log_formatter, json_formatter
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from toubib_connector.log import COLORS, say

TAP, LOADER, DBT, MELTANO = "tap-toubib", "target-duckdb", "dbt", "meltano"
LABELS = {TAP: "Patients", DBT: "Documentation" if "dbt:docs" in sys.argv else "Models and tests"}
LINE_EVERY = 25
"""Percent of the patients between two lines without a terminal."""


class DbtEvents(logging.Filter):
    """Parses dbt's structured log, as Meltano does for plugins of the Singer SDK."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace a JSON line with its message; return whether it has one."""
        event: Any = record.msg
        try:
            line = json.loads(event["event"])
            info, data = line["info"], line["data"]
        except (ValueError, LookupError, TypeError):
            # not from dbt's log, such as a further line of a quoted value
            return True
        event |= {"event": info["msg"], "level": info["level"], "plugin_logger": info["name"]}
        if info["name"] in {"LogModelResult", "LogTestResult"}:
            event |= {"done": data["index"], "total": data.get("total") or data.get("num_models")}
            event["is_passed_test"] = data["status"] == "pass"
        record.levelno = logging.getLevelNamesMapping()[info["level"].upper()]
        return bool(info["msg"])


def make_formatter() -> logging.Formatter:
    """Return the format of the full log: JSON lines where a machine collects logs, otherwise text."""
    is_json = os.environ.get("MELTANO_CLI_LOG_FORMAT") == "json"
    formatter: logging.Formatter = json_formatter() if is_json else console_log_formatter(colors=sys.stderr.isatty())
    return formatter


class Display(logging.Handler):
    """Shows progress, warnings and results: bars at a terminal, otherwise a few lines."""

    def __init__(self) -> None:
        super().__init__()
        path = os.environ.get("TOUBIB_PROGRESS")
        self._file = Path(path) if path else None
        can_redraw = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("VERBOSE")
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, complete_style="cyan", pulse_style="cyan", finished_style="green"),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed"),
            expand=True,
            redirect_stderr=False,
            disable=not can_redraw,
        )
        self._tasks: dict[str, TaskID] = {}
        self._next_percent = LINE_EVERY
        self._warnings: set[str] = set()
        self._errors: dict[str, str] = {}
        self._last_of_loader = ""
        self._has_loader_failed = False
        self._kept: dict[str, Any] = {"reason": None, "patients_read": None, "tests_passed": 0, "steps": {}}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record if it is for people. A failure of the display does not fail the run."""
        if self._file is None or not isinstance(record.msg, dict):
            return
        try:
            self._show(record.msg, record.levelno)
            self._file.write_text(json.dumps(self._kept))
        except Exception:  # noqa: BLE001 (as logging's own handlers do)
            self.handleError(record)

    def close(self) -> None:
        """Restore the terminal."""
        self._live.stop()
        super().close()

    def _show(self, event: dict[str, Any], level: int) -> None:
        plugin, message = event.get("name", MELTANO), event["event"]
        if plugin in LABELS:
            self._start(plugin)
        if level >= logging.ERROR:
            self._keep_error(plugin, event)
        elif level == logging.WARNING:
            # Meltano's own warnings are for developers, and dbt's other warnings repeat results
            is_for_people = "done" in event if plugin == DBT else plugin != MELTANO
            # discovery and the run give the same warnings
            if is_for_people and message not in self._warnings:
                self._warnings.add(message)
                self._say(f"Warning: {message}", plugin, "warning")
        elif event.get("plugin_logger") == "Build":
            self._say(message, plugin)
        elif plugin == LOADER:
            self._last_of_loader = message
        if event.get("done") is not None:
            self._show_progress(plugin, event)
        elif event.get("success"):
            self._end(TAP if event["block_type"] == "ExtractLoadBlocks" else DBT, event["duration_seconds"])
        self._kept["reason"] = self._find_reason()

    def _say(self, message: str, plugin: str, level: str = "info") -> None:
        """Print a line, above the bars at a terminal."""
        if self._live.disable:
            say(message, level, plugin)
        else:
            self._live.console.print(message, style=COLORS.get(level), markup=False, highlight=False)

    def _start(self, plugin: str) -> None:
        """Show a bar for a step, without a number yet."""
        if plugin not in self._tasks:
            self._live.start()
            self._tasks[plugin] = self._live.add_task(LABELS[plugin], total=None, count="")

    def _show_progress(self, plugin: str, event: dict[str, Any]) -> None:
        done, total, rate = event["done"], event.get("total"), event.get("rate")
        count = (f"{done:,} of {total:,}" if total else f"{done:,}") + (f" ({rate:,.0f}/s)" if rate else "")
        self._live.update(self._tasks[plugin], completed=done, total=total, count=count)
        self._kept["tests_passed"] += event.get("is_passed_test", False)
        if plugin == TAP:
            self._kept["patients_read"] = done
            if self._live.disable and total and 100 * done / total >= self._next_percent:
                self._next_percent = 100 * done // total + LINE_EVERY
                say(event["event"], logger=plugin)

    def _end(self, plugin: str, seconds: float) -> None:
        step, steps = "load" if plugin == TAP else "build", self._kept["steps"]
        # after a full refresh, dbt also compacts raw
        steps[step] = round(steps.get(step, 0) + seconds, 1)
        if self._live.disable:
            say(f"{LABELS[plugin]} in {seconds:.1f} seconds", logger=plugin)
        if plugin == TAP:
            task = self._live.tasks[self._tasks[TAP]]
            number = task.total or task.completed
            count = f"{number:,.0f}" if number else ""
            self._live.update(task.id, total=number or 1, completed=number or 1, count=count)
            self._start(DBT)

    def _keep_error(self, plugin: str, event: dict[str, Any]) -> None:
        message = " ".join(str(event.get("err") or event["event"]).split())
        if event.get("plugin_logger") == "RunResultError":
            # dbt names the model or the test first, then its error
            message = ": ".join(filter(None, [self._errors.get(DBT), message]))
        self._errors[plugin] = message
        self._has_loader_failed |= (event.get("exit_codes") or {}).get("loaders") == 1

    def _find_reason(self) -> str | None:
        """Return why the run failed. If the loader fails, the tap and Meltano fail, too."""
        if self._has_loader_failed:
            # its last line, which can arrive after Meltano reports its end
            return self._last_of_loader
        return next((self._errors[plugin] for plugin in (TAP, DBT, MELTANO) if plugin in self._errors), None)
