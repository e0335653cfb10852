"""A collection that moves between requests: no patient at rest is missed, and a quiet run completes the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from singer_sdk.exceptions import RetriableAPIError

from tap_toubib.streams.patients import PatientsStream
from tap_toubib.testing import Api, Row

from .conftest import Runner

OPENING = datetime(2024, 1, 1, tzinfo=UTC)
LONGEST_TRANSACTION = timedelta(seconds=50)
"""Of the service; the default lookback of the tap is longer."""

FORMS: dict[str, Callable[[datetime], str]] = {
    "Z": lambda instant: instant.isoformat().replace("+00:00", "Z"),
    "another offset": lambda instant: instant.astimezone(timezone(timedelta(hours=2))).isoformat(),
    "naive": lambda instant: instant.replace(tzinfo=None).isoformat(" "),
    "nine decimals": lambda instant: instant.isoformat(timespec="microseconds").replace("+00:00", "000Z"),
}


class Clock(datetime):
    """The clock of the clinic, which only changes in the clinic move."""

    instant = OPENING

    @classmethod
    def now(cls, _: object = None) -> Clock:
        return cls.fromisoformat(Clock.instant.isoformat())


class Clinic(RuleBasedStateMachine):
    """Patients who are created, changed and deleted, during runs of the tap and between them, and a destination."""

    def __init__(self, api: Api, run: Runner, sortable: tuple[str, ...], nullable: tuple[str, ...]) -> None:
        super().__init__()
        self.api = api
        self.tap = run
        assert run.folder
        self.folder = run.folder
        self.nullable = nullable
        self.finds_deletions = "id" in sortable or "updated_at" not in sortable
        self.changes = 0
        # without a unique order, more changes of one instant than fit on a page cannot be read for certain
        self.ties = 8 if {"id", "email"} & {*sortable} else 2
        self.state: Row | None = None
        self.destination: dict[int, Row] = {}
        self.removed: list[Row] = []
        self.restored: set[int] = set()
        self.has_failed = False
        Clock.instant = OPENING
        self.next_id = 1
        api.rows.clear()
        api.requests.clear()
        api.before.clear()
        api.script.clear()
        api.offer(*sortable, nullable=nullable, email={"type": "string"}, visits={"type": "integer"})

    @initialize(
        size=st.integers(0, 90),
        form=st.sampled_from(list(FORMS)),
        nulls_first=st.booleans(),
        seed=st.integers(0, 10**9),
        in_files=st.booleans(),
    )
    def open(self, size: int, form: str, seed: int, *, nulls_first: bool, in_files: bool) -> None:
        self.tap.folder = self.folder if in_files else None
        self.written = FORMS[form]
        self.api.nulls_first = nulls_first
        self.random = Random(seed)  # noqa: S311 (a game, no secret)
        for _ in range(size):
            self.create()
        for _ in range(size // 2):
            self.update()

    # -- the clinic

    def instant(self, not_before: str | None = None) -> str:
        """Return the instant of a change that becomes visible now; often it is that of the change before it."""
        self.changes += 1
        Clock.instant += timedelta(seconds=self.random.choice([1, 40]) if self.changes % self.ties == 0 else 0)
        began_at = Clock.instant - self.random.choice([0, 0, 0, 1]) * LONGEST_TRANSACTION
        return max(self.written(began_at), not_before or "")

    def create(self) -> None:
        instant = self.instant()
        row = self.api.add(self.next_id, created_at=instant, updated_at=instant, visits=0)
        row["email"] = f"{self.random.random()}@example.org"
        if "updated_at" in self.nullable:
            row["updated_at"] = None
        self.next_id += 1

    def update(self) -> None:
        row = self.random.choice(self.api.rows)
        row["visits"] += 1
        row["updated_at"] = self.instant(not_before=row["updated_at"] or row["created_at"])

    def remove(self) -> None:
        row = self.random.choice(self.api.rows)
        self.api.rows.remove(row)
        self.removed.append(row)

    @rule()
    def restore(self) -> None:
        """Bring a deleted patient back with its old `updated_at`."""
        if self.removed:
            row = self.removed.pop()
            self.api.rows.append(row)
            self.restored.add(row["id"])

    @rule(changes=st.integers(1, 30))
    def change(self, changes: int) -> None:
        for _ in range(changes):
            self.random.choice([self.create, self.update, self.remove] if self.api.rows else [self.create])()

    # -- the tap

    @rule(
        page_size=st.integers(8, 20),
        parallel=st.integers(1, 8),
        moves=st.sampled_from([0.2, 0.5]),
        fails_at=st.none() | st.integers(1, 12),
    )
    def run(self, page_size: int, parallel: int, moves: float, fails_at: int | None) -> None:
        """Run the tap while the collection moves, and perhaps until the API fails for good."""

        def move() -> None:
            while self.random.random() < moves:
                self.change(1)

        before = {row["id"]: dict(row) for row in self.api.rows}
        self.api.before_each = move
        if fails_at:
            self.api.before[len(self.api.pages) + fails_at] = self.api.fail
        failed = False
        try:
            self.read(page_size=page_size, max_parallel_requests=parallel)
        except RetriableAPIError:
            failed = True
        self.api.before_each = lambda: None
        self.api.before.clear()
        self.api.script.clear()
        # a loader can have committed more than the last state covers
        self.take(until_the_last_state=failed and self.random.choice([True, False]))
        self.has_failed = failed
        if not failed:
            self.compare([row for row in self.api.rows if before.get(row["id"]) == row])

    def read(self, **config: Any) -> None:
        """Run the tap as the connector does, with the ids of the destination if the state may lack some."""
        patients = (self.state or {}).get("bookmarks", {}).get("patients", {})
        if self.destination and (self.has_failed or "known_ids" not in patients):
            self.folder.with_name("ids.txt").write_text("\n".join(map(str, self.destination)))
            config["known_ids_file"] = str(self.folder.with_name("ids.txt"))
        self.tap(state=self.state, max_deleted_percent=100, **config)

    def take(self, *, until_the_last_state: bool) -> None:
        """Load the tap's output; of a failed run, perhaps only the part that its last state covers."""
        messages = self.tap.output.messages
        states = [number for number, message in enumerate(messages) if message["type"] == "STATE"]
        for message in messages[: states[-1] if states else 0] if until_the_last_state else messages:
            if message["type"] == "RECORD" and message["stream"] == "patients":
                record: Row = message["record"]
                if record.get("_sdc_deleted_at"):
                    assert record["id"] not in {row["id"] for row in self.api.rows}
                    self.destination.pop(record["id"], None)
                    continue
                known = self.destination.get(record["id"], record)
                if (record["updated_at"] or "") >= (known["updated_at"] or ""):
                    self.destination[record["id"]] = record
        self.state = self.tap.output.state or self.state

    def compare(self, rows: list[Row]) -> None:
        # equally many deletions elsewhere can hide patients who came back
        source = {row["id"]: row["visits"] for row in rows if row["id"] not in self.restored}
        assert source == {patient: self.destination.get(patient, {}).get("visits") for patient in source}

    def teardown(self) -> None:
        """After a quiet run, source and destination hold the same patients."""
        if not hasattr(self, "written"):
            return
        self.complete()
        self.tap.folder = self.folder

    def complete(self) -> None:
        self.read(page_size=20)
        self.take(until_the_last_state=False)
        self.compare(self.api.rows)
        if self.restored or not self.finds_deletions:
            # only a full refresh finds all of them
            self.read(page_size=20, full_refresh=True)
            self.take(until_the_last_state=False)
            self.restored.clear()
            self.compare(self.api.rows)
        assert self.destination.keys() == {row["id"] for row in self.api.rows}


@pytest.mark.parametrize(
    ("sortable", "nullable"),
    [
        (("id", "created_at", "updated_at"), ()),
        (("id", "created_at", "updated_at"), ("updated_at",)),
        (("email", "updated_at"), ()),
        (("created_at", "updated_at"), ()),
        (("updated_at",), ()),
        (("id",), ()),
        (("email",), ()),
    ],
    ids=str,
)
def test_patients_that_do_not_move_are_read_and_a_quiet_run_completes_the_rest(
    api: Api, run: Runner, monkeypatch: pytest.MonkeyPatch, sortable: tuple[str, ...], nullable: tuple[str, ...]
) -> None:
    monkeypatch.setattr(PatientsStream, "STATE_MSG_FREQUENCY", 5)
    monkeypatch.setattr("tap_toubib.values.datetime", Clock)
    api.shuffled = True

    clinic: Any = partial(Clinic, api, run, sortable, nullable)

    # a seed decides the moves, so shrinking would not reproduce a failure
    without_shrinking = settings(stateful_step_count=6, phases=[Phase.generate])
    run_state_machine_as_test(clinic, settings=without_shrinking)
