"""A collection that moves between any two requests, played by a model: nothing that stands still is missed."""

from __future__ import annotations

import json
from math import ceil
from random import Random
from threading import Lock
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_toubib.negotiation import negotiate
from tap_toubib.plan import Order
from tap_toubib.records import PageDecoder
from tap_toubib.scan import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_toubib.records import Page

DECODER = PageDecoder(negotiate({}).schema)


class Collection:
    """Patients, each a minute of change, and something that moves them."""

    def __init__(self, size: int, ties: int, moves: float, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 (a game, no secret)
        self.moves = moves
        self.now = size
        minutes = self.random.sample(range(size), size)
        self.changed_at = {patient: minute // ties for patient, minute in enumerate(minutes)}
        self.untouched = set(self.changed_at)
        self.requests = 0
        self._lock = Lock()

    def get_patients(self, params: Mapping[str, str | int], decode: Callable[[bytes], Page]) -> Page:
        """Answer as the client does."""
        with self._lock:
            self.requests += 1
            while self.random.random() < self.moves:
                self.move()
            return decode(self.page(params))

    def move(self) -> None:
        self.now += 1
        kind = self.random.choice(["insert", "update", "remove"])
        if kind == "insert" or not self.changed_at:
            self.changed_at[max(self.changed_at, default=0) + 1] = self.now
            return
        patient = self.random.choice(list(self.changed_at))
        self.untouched.discard(patient)
        if kind == "update":
            self.changed_at[patient] = self.now
        else:
            del self.changed_at[patient]

    def page(self, params: Mapping[str, str | int]) -> bytes:
        patients = list(self.changed_at)
        # equal values have another order in every answer
        self.random.shuffle(patients)
        key = self.changed_at.__getitem__ if params["sort_field"] == "updated_at" else int
        patients.sort(key=key, reverse=params["sort_dir"] == "desc")
        offset, limit = int(params["offset"]), int(params["limit"])
        data = [{"id": patient, "updated_at": self.instant(patient)} for patient in patients[offset : offset + limit]]
        return json.dumps({"data": data, "meta": {"total_items": len(patients)}}).encode()

    def instant(self, patient: int) -> str:
        minutes = self.changed_at[patient]
        return f"2024-01-{1 + minutes // 1440:02}T{minutes // 60 % 24:02}:{minutes % 60:02}:00Z"


def read(collection: Collection, order: Order, page_size: int, parallel: int) -> list[int]:
    scanner = Scanner(collection, DECODER, page_size, parallel)  # type: ignore[arg-type]  # all of it that is used
    return [record["id"] for page, _ in scanner.read_pages(order) for record in page.records]


ORDERS = [Order("id"), Order("updated_at", "desc"), Order("updated_at")]


@settings(max_examples=700, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_patient_that_stands_still_is_read(order: Order, data: st.DataObject) -> None:
    page_size = data.draw(st.integers(8, 20), "page size")
    collection = Collection(
        size=data.draw(st.integers(0, 120), "size"),
        ties=data.draw(st.integers(1, 4), "ties"),
        moves=data.draw(st.sampled_from([0.0, 0.3, 0.6]), "moves"),
        seed=data.draw(st.integers(0, 10**9), "seed"),
    )
    seen = read(collection, order, page_size, data.draw(st.integers(1, 8), "parallel"))
    assert collection.untouched <= set(seen)


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_collection_that_stands_still_costs_its_pages(parallel: int) -> None:
    collection = Collection(size=1_000, ties=1, moves=0, seed=0)
    assert read(collection, Order("id"), 100, parallel) == list(range(1_000))
    assert collection.requests == ceil(1_000 / 99)
