"""The set of known ids and its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_toubib.known_ids import KnownIds
from tap_toubib.records import list_ids, reject

IDS = st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50)


@given(st.sets(IDS))
def test_text_gives_back_the_ids_it_was_made_of(ids: set[int]) -> None:
    known = KnownIds.from_text(KnownIds(ids).to_text())
    assert [*known] == sorted(ids)
    assert len(known) == len(ids)


@given(st.sets(IDS), st.none() | IDS, st.none() | IDS)
def test_selection_between_two_ids_excludes_both(ids: set[int], low: int | None, high: int | None) -> None:
    between = [each for each in sorted(ids) if (low is None or each > low) and (high is None or each < high)]
    known = KnownIds(ids)
    if low is None or high is None or low < high:
        assert [*known.select_between(low, high)] == between
        assert known.count_between(low, high) == len(between)


@pytest.mark.parametrize(
    ("key", "found"),
    [("7", [7]), ("-7", [-7]), ("0", [0]), (str(2**63 - 1), [2**63 - 1]), (str(-(2**63)), [-(2**63)])]
    + [(text, []) for text in (str(2**63), str(-(2**63) - 1), "7.5", "P7", "", "--7", "٣", "9" * 5_000)]
    + [(7, [7]), (-(2**63), [-(2**63)]), (2**63, []), (True, []), (None, []), ([7], [])],
    ids=lambda value: str(value)[:20],
)
def test_id_of_a_rejected_record_counts_if_it_is_one(key: object, found: list[int]) -> None:
    assert list_ids([reject({"id": key}, "", "")]) == found
