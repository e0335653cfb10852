"""The rule of the history once more, as a plain loop: what the SQL is compared with."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise

DAY = 24 * 60 * 60 * 1_000_000
NEVER = -DAY * 1_000_000

Content = tuple[str | None, ...]


@dataclass(frozen=True)
class Observation:
    """What was seen of a patient; instants are microseconds.

    Attributes:
        observed: When it was seen.
        updated: The source's `updated_at`.
        deleted: When the patient was found to be deleted from the source; None in any other observation.
        content: The value of each column.
    """

    observed: int
    updated: int | None
    deleted: int | None
    content: Content


@dataclass(frozen=True)
class Run:
    """A run that ended.

    Attributes:
        started: When it began.
        ended: When it ended.
        is_full: Whether it read everything.
        emitted: Whether it emitted each column.
    """

    started: int
    ended: int
    is_full: bool
    emitted: tuple[bool, ...]


@dataclass
class Version:
    """A version, as in `patients_history`."""

    content: Content
    valid_from: int
    observed: int
    updated: int | None
    valid_to: int | None = None
    ended_by: str | None = None


def versions(observations: list[Observation], runs: list[Run]) -> list[Version]:
    """Return the versions of one patient.

    Args:
        observations: In any order, repetitions included.
        runs: In the order of their starts.
    """
    seen = sorted(observations, key=lambda one: one.observed)
    result: list[Version] = []
    last_begin = last_place = None
    last_content: Content | None = None
    for place, source, one in timeline(informed(seen, runs), runs):
        content = None if one.deleted is not None else one.content
        if content is not None and content == last_content:
            result[-1].updated = one.updated
            result[-1].observed = min(one.observed, result[-1].observed)
        elif content != last_content:
            changed_in_place = one.deleted is None and source == last_place
            begin = one.observed if source is None or changed_in_place else source
            begin = begin if one.deleted is None else one.deleted
            begin = begin if last_begin is None else max(begin, last_begin + 1)
            if last_content is not None:
                result[-1].valid_to = begin
                result[-1].ended_by = "change" if content is not None else "deletion"
            if content is not None:
                result.append(Version(content, begin, one.observed, one.updated))
            last_begin = begin
        last_content = content
        last_place = place
    return result


def informed(seen: list[Observation], runs: list[Run]) -> list[Observation]:
    """Replace nulls that are unknown by the value known last, or else first, under the same `updated_at`."""

    def is_known(one: Observation, column: int) -> bool:
        earlier = [run for run in runs if run.started <= one.observed]
        return one.content[column] is not None or (earlier[-1] if earlier else runs[0]).emitted[column]

    def value(one: Observation, column: int) -> str | None:
        alike = [other for other in seen if other.deleted is None and other.updated == one.updated]
        known = [other for other in alike if is_known(other, column)]
        before = [other for other in known if other.observed <= one.observed]
        return (before[-1] if before else known[0]).content[column] if known else None

    return [replace(one, content=tuple(value(one, column) for column in range(len(one.content)))) for one in seen]


def timeline(seen: list[Observation], runs: list[Run]) -> list[tuple[int, int | None, Observation]]:
    """Return the observations in their order, each with where it stands and its source time."""
    result: list[tuple[int, int | None, Observation]] = []
    newest = barrier = NEVER
    newest_before: dict[int, int] = {}
    for one in seen:
        stated = one.deleted if one.deleted is not None else one.updated
        if one.deleted is None and stated is not None and stated > one.observed + DAY:
            stated = None
        known_before = None
        for run in runs:
            if run.is_full and run.started <= one.observed <= run.ended:
                known_before = newest_before.setdefault(run.started, newest)
        if one.deleted is not None:
            known_before = newest
        is_restored = stated is not None and known_before is not None and stated < known_before

        is_placed_by_itself = stated is not None and stated > barrier and not is_restored
        place = stated if is_placed_by_itself and stated is not None else newest
        entry = (place, stated if is_placed_by_itself else None, one)
        result.insert(bisect_right([other[0] for other in result], place), entry)

        newest = max(newest, NEVER if stated is None else stated)
        if is_restored or one.deleted is not None:
            barrier = newest
    assert all(before[0] <= after[0] for before, after in pairwise(result))
    return result
