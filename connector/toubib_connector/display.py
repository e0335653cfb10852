"""What a person sees of Meltano. It runs inside Meltano, where `logging.yaml` names it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from meltano.core.logging import console_log_formatter, json_formatter
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from toubib_connector.log import has_terminal, say

TAP, LOADER, DBT = "tap-toubib", "target-duckdb", "dbt"
ERROR_PRIORITY = [LOADER, TAP, DBT, "meltano"]
"""Whose error is the reason of a failed run: when the loader fails, the tap and Meltano fail with it."""

STEP = 25
"""Percent between two lines of progress where nobody sits at a terminal."""

STEPS = {TAP: "Patients", DBT: "Models and tests"}
"""What each step of a run counts."""


class DbtEvents(logging.Filter):
    """Takes dbt's structured log apart; of other plugins' Meltano does that itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Turn a line of JSON into the record that it stands for; return whether it says anything."""
        event = record.msg
        if not isinstance(event, dict) or event.get("name") != DBT:
            return True
        try:
            line = json.loads(event["event"])
            info, data = line["info"], line["data"]
        except (ValueError, LookupError, TypeError):
            # text that dbt prints past its log, a part of a value that an error quotes, for instance
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
    """Shows the progress of a run and keeps why it failed, for the command that started Meltano."""

    def __init__(self) -> None:
        super().__init__()
        path = os.environ.get("TOUBIB_PROGRESS")
        self._kept = Path(path) if path else None
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._tests_passed = 0
        self._next_percent = STEP
        self._errors: dict[str, str] = {}
        self._last_of_loader = ""
        self._warnings: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record tells, if it is one for a person; what fails here is no reason for a run to fail."""
        if self._kept is None or not isinstance(record.msg, dict):
            return
        try:
            self._show(record.msg, record.levelno)
        except Exception:  # noqa: BLE001 (as logging's own handlers do)
            self.handleError(record)

    def _show(self, event: dict[str, Any], level: int) -> None:
        plugin = event.get("name", "meltano")
        if plugin in STEPS:
            self._begin(plugin)
        elif plugin == LOADER:
            self._last_of_loader = event["event"]
            if LOADER in self._errors:
                # its last lines can arrive behind its end
                self._keep_loader_error()
        if level >= logging.ERROR:
            self._keep_error(plugin, event)
        elif level == logging.WARNING:
            self._warn(plugin, event)
        if event.get("done") is not None:
            self._show_progress(plugin, event)
        elif event.get("success"):
            self._end(event["block_type"], event["duration_seconds"])

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()
        super().close()

    def _begin(self, plugin: str) -> None:
        """Show a line for a step, without a number yet."""
        if plugin in self._tasks or not has_terminal():
            return
        if self._live is None:
            self._live = Progress(
                TextColumn(f"{{task.description:{max(map(len, STEPS.values()))}}}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[count]}", style="progress.download"),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}", style="progress.data.speed"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(),
                expand=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._tasks[plugin] = self._live.add_task(STEPS[plugin], total=None, count="", rate="")

    def _show_progress(self, plugin: str, event: dict[str, Any]) -> None:
        done, total, rate = event["done"], event.get("total"), event.get("rate")
        self._done[plugin] = done
        self._tests_passed += event.get("is_passed_test", False)
        self._keep()
        if self._live:
            count = f"{done:,} of {total:,}" if total else f"{done:,}"
            rate = f"{rate:,.0f} a second" if rate else ""
            self._live.update(self._tasks[plugin], completed=done, total=total, count=count, rate=rate)
        elif plugin == TAP and total and 100 * done / total >= self._next_percent:
            self._next_percent = 100 * done // total + STEP
            self._say(event["event"], plugin)

    def _end(self, block_type: str, seconds: float) -> None:
        plugin = TAP if block_type == "ExtractLoadBlocks" else DBT
        done = self._done.get(plugin)
        if self._live and plugin in self._tasks:
            [total] = [task.total for task in self._live.tasks if task.id == self._tasks[plugin]]
            count = f"{total:,.0f} of {total:,.0f}" if total else f"{done:,}" if done else ""
            self._live.update(self._tasks[plugin], total=total or 1, completed=total or 1, count=count)
        elif plugin == TAP:
            self._say(f"Extracted and loaded in {seconds:.1f} seconds", plugin)
        elif done:
            self._say(f"Built and tested in {seconds:.1f} seconds: {done} models and tests", plugin)
        if plugin == TAP:
            self._begin(DBT)

    def _warn(self, plugin: str, event: dict[str, Any]) -> None:
        # discovery and the run itself warn of the same; Meltano warns of what is as it should be, dbt three times
        is_result = "done" in event if plugin == DBT else plugin != "meltano"
        if is_result and event["event"] not in self._warnings:
            self._warnings.add(event["event"])
            self._say(f"Warning: {event['event']}", plugin)

    def _say(self, message: str, plugin: str) -> None:
        if self._live:
            self._live.console.print(message, style="yellow", markup=False, highlight=False)
        else:
            say(message, "warning" if message.startswith("Warning: ") else "info", plugin)

    def _keep_error(self, plugin: str, event: dict[str, Any]) -> None:
        message = " ".join(str(event.get("err") or event["event"]).split())
        if event.get("plugin_logger") == "RunResultError":
            # dbt names the model or the test first, then what is wrong with it
            message = ": ".join(filter(None, [self._errors.get(DBT), message]))
        self._errors[plugin] = message
        if (event.get("exit_codes") or {}).get("loaders") == 1:
            # the loader writes plain text, the reason last; where a signal ended it, it has not told any
            self._keep_loader_error()
        self._keep()

    def _keep_loader_error(self) -> None:
        self._errors[LOADER] = self._last_of_loader
        self._keep()

    def _keep(self) -> None:
        reasons = [self._errors[plugin] for plugin in ERROR_PRIORITY if plugin in self._errors]
        kept = {"reason": reasons[0] if reasons else None, "patients_read": self._done.get(TAP)}
        kept["tests_passed"] = self._tests_passed
        if self._kept:
            self._kept.write_text(json.dumps(kept))
