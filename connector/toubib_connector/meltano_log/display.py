"""Shows the progress of a run, and keeps the reason of a failed one for the command that started Meltano."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from meltano.core.logging import console_log_formatter, json_formatter
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from toubib_connector.log import COLORS, has_terminal, say

TAP, LOADER, DBT = "tap-toubib", "target-duckdb", "dbt"
ERROR_PRIORITY = [LOADER, TAP, DBT, "meltano"]
"""Whose error is the reason of a failed run, first to last: if the loader fails, the tap and Meltano fail, too."""

LABELS = {TAP: "Patients", DBT: "Documentation" if "dbt:docs" in sys.argv else "Models and tests"}
NOTHING_TO_BUILD = "Nothing to build"
LINE_EVERY = 25
"""Percent of the patients between two lines without a terminal."""


class DbtEvents(logging.Filter):
    """Parses dbt's structured log, as Meltano does for plugins of the Singer SDK."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace a JSON line with its message; return whether it has one."""
        event = record.msg
        if not isinstance(event, dict) or event.get("name") != DBT:
            return True
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


class Times(ProgressColumn):
    """The time that a step has taken and, if it can be estimated, the time left."""

    def render(self, task: Task) -> Text:
        """Return both with their labels."""
        elapsed = f"{timedelta(seconds=int(task.elapsed or 0))} elapsed"
        left = None if task.finished else task.time_remaining
        return Text(elapsed if left is None else f"{elapsed}, {timedelta(seconds=int(left))} left")


class Display(logging.Handler):
    """Shows progress, warnings and results: bars at a terminal, otherwise a few lines."""

    def __init__(self) -> None:
        super().__init__()
        path = os.environ.get("TOUBIB_PROGRESS")
        self._file = Path(path) if path else None
        self._live = Progress(
            TextColumn(f"{{task.description:{max(map(len, LABELS.values()))}}}"),
            BarColumn(bar_width=None, complete_style="cyan", pulse_style="cyan", finished_style="green"),
            TextColumn("{task.fields[count]}"),
            Times(),
            console=Console(),
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not has_terminal(),
        )
        self._tasks = {
            plugin: self._live.add_task(label, start=False, visible=False, total=None, count="")
            for plugin, label in LABELS.items()
        }
        self._patients_read: int | None = None
        self._tests_passed = 0
        self._steps: dict[str, float] = {}
        self._next_percent = LINE_EVERY
        self._errors: dict[str, str] = {}
        self._last_of_loader = ""
        self._warnings: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record if it is for people. A failure of the display does not fail the run."""
        if self._file is None or not isinstance(record.msg, dict):
            return
        try:
            self._show(record.msg, record.levelno)
            self._file.write_text(json.dumps(self._describe()))
        except Exception:  # noqa: BLE001 (as logging's own handlers do)
            self.handleError(record)

    def close(self) -> None:
        """Restore the terminal."""
        self._live.stop()
        super().close()

    def _show(self, event: dict[str, Any], level: int) -> None:
        plugin, message = event.get("name", "meltano"), event["event"]
        if plugin in LABELS:
            self._start(plugin)
        elif plugin == LOADER:
            self._last_of_loader = message
        if level >= logging.ERROR:
            self._keep_error(plugin, event)
        elif level == logging.WARNING:
            # Meltano's own warnings are for developers, and dbt's other warnings repeat results
            is_for_people = "done" in event if plugin == DBT else plugin != "meltano"
            # discovery and the run give the same warnings
            if is_for_people and message not in self._warnings:
                self._warnings.add(message)
                self._print(f"Warning: {message}", plugin, "warning")
        elif plugin == DBT and message.startswith(NOTHING_TO_BUILD):
            self._print(message, plugin)
        if event.get("done") is not None:
            self._show_progress(plugin, event)
        elif event.get("success"):
            self._end(TAP if event["block_type"] == "ExtractLoadBlocks" else DBT, event["duration_seconds"])

    def _start(self, plugin: str) -> None:
        """Show a bar for a step, without a number yet."""
        if not self._live.tasks[self._tasks[plugin]].started:
            self._live.start()
            self._live.start_task(self._tasks[plugin])
            self._live.update(self._tasks[plugin], visible=True)

    def _show_progress(self, plugin: str, event: dict[str, Any]) -> None:
        done, total, rate = event["done"], event.get("total"), event.get("rate")
        count = (f"{done:,} of {total:,}" if total else f"{done:,}") + (f" ({rate:,.0f}/s)" if rate else "")
        self._live.update(self._tasks[plugin], completed=done, total=total, count=count)
        self._tests_passed += event.get("is_passed_test", False)
        if plugin == TAP:
            self._patients_read = done
            if self._live.disable and total and 100 * done / total >= self._next_percent:
                self._next_percent = 100 * done // total + LINE_EVERY
                self._print(event["event"], plugin)

    def _end(self, plugin: str, seconds: float) -> None:
        task = self._live.tasks[self._tasks[plugin]]
        if number := task.total or task.completed:
            self._live.update(task.id, total=number, completed=number, count=f"{number:,.0f}")
        else:
            self._live.update(task.id, total=1, completed=1)
        self._live.stop_task(task.id)
        step = "load" if plugin == TAP else "build"
        # after a full refresh, dbt also compacts raw
        self._steps[step] = round(self._steps.get(step, 0) + seconds, 1)
        if self._live.disable and (plugin == TAP or number):
            step = "Extracted and loaded" if plugin == TAP else "Built and tested"
            self._print(f"{step} in {seconds:.1f} seconds", plugin)
        if plugin == TAP:
            self._start(DBT)

    def _print(self, message: str, plugin: str, level: str = "info") -> None:
        if self._live.disable:
            say(message, level, plugin)
        else:
            self._live.console.print(message, style=COLORS.get(level), markup=False, highlight=False)

    def _keep_error(self, plugin: str, event: dict[str, Any]) -> None:
        message = " ".join(str(event.get("err") or event["event"]).split())
        if event.get("plugin_logger") == "RunResultError":
            # dbt names the model or the test first, then its error
            message = ": ".join(filter(None, [self._errors.get(DBT), message]))
        self._errors[plugin] = message
        if (event.get("exit_codes") or {}).get("loaders") == 1:
            # with exit code 1, the loader's last line is the reason
            self._errors[LOADER] = ""

    def _describe(self) -> dict[str, Any]:
        """Return how far the run came, and why it failed."""
        if LOADER in self._errors:
            # its last lines can arrive after Meltano reports its end
            self._errors[LOADER] = self._last_of_loader
        return {
            "reason": next((self._errors[plugin] for plugin in ERROR_PRIORITY if plugin in self._errors), None),
            "patients_read": self._patients_read,
            "tests_passed": self._tests_passed,
            "steps": self._steps,
        }
