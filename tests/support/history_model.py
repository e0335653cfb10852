"""The rule of the history as a plain loop, with which tests compare the SQL."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

DAY = 24 * 60 * 60 * 1_000_000
NEVER = -DAY * 1_000_000

Content = tuple[str | None, ...]


@dataclass(frozen=True)
class Observation:
    """An observation of a patient; instants are microseconds.

    Attributes:
        run: When its run began.
        observed: When the tap read it.
        updated: The source's `updated_at`.
        is_deletion: Whether the patient was found to be deleted from the source.
        content: The value of each column.
    """

    run: int
    observed: int
    updated: int | None
    is_deletion: bool
    content: Content


@dataclass(frozen=True)
class Run:
    """A run that ended well.

    Attributes:
        started: When it began, by its machine's clock.
        is_full: Whether it read everything.
    """

    started: int
    is_full: bool


@dataclass
class Version:
    """A version, as in `patients_history`."""

    content: Content
    valid_from: int
    observed: int
    run: int
    updated: int | None
    valid_to: int | None = None
    ended_by: str | None = None


@dataclass
class Entry:
    """An observation in its place.

    Attributes:
        seen: When it was seen, with the clock corrected.
        position: The source time that orders it; None before any.
        source_time: Its own source time.
    """

    observation: Observation
    seen: int
    position: int | None
    source_time: int | None


def versions(observations: list[Observation], runs: list[Run]) -> list[Version]:
    """Return the versions of one patient.

    Args:
        observations: In any order, repetitions included.
        runs: In the order in which they were loaded.
    """
    result: list[Version] = []
    begins: list[int] = []
    latest = NEVER
    content: Content | None = None
    for entry in timeline(complete(observations, runs), runs):
        one = entry.observation
        before, content = content, None if one.is_deletion else one.content
        if content != before:
            begin = entry.seen
            if entry.source_time is not None and entry.source_time > latest:
                begin = min(entry.source_time, entry.seen)
            begin = max([begin, *(begins[-1:] and [begins[-1] + 1])])
            begins.append(begin)
            if before is not None:
                result[-1].valid_to = begin
                result[-1].ended_by = "deletion" if content is None else "change"
            if content is not None:
                result.append(Version(content, begin, entry.seen, one.run, one.updated))
        elif content is not None:
            result[-1].updated = one.updated
            if entry.seen < result[-1].observed:
                result[-1].observed, result[-1].run = entry.seen, one.run
        latest = max(latest, entry.seen if one.is_deletion else NEVER if entry.position is None else entry.position)
    return result


def complete(observations: list[Observation], runs: list[Run]) -> list[Observation]:
    """Return the observations in the order in which they were seen, with unknown nulls replaced."""
    ordered = sorted(observations, key=lambda one: (correct(one.observed, one, runs), one.observed, one.is_deletion))

    by_clock = sorted(observations, key=lambda one: one.observed)

    def value(one: Observation, column: int) -> str | None:
        alike = [other for other in by_clock if other.updated == one.updated and other.content[column] is not None]
        before = [other for other in alike if other.observed <= one.observed]
        return (before[-1] if before else alike[0]).content[column] if alike else None

    return [
        one
        if one.updated is None or one.is_deletion
        else replace(one, content=tuple(value(one, column) for column in range(len(one.content))))
        for one in ordered
    ]


def correct(instant: int, one: Observation, runs: list[Run]) -> int:
    """Return an instant of an observation, corrected to be before all runs that were loaded later."""
    starts = [run.started for run in runs]
    later = starts[starts.index(one.run) + 1 :] if one.run in starts else []
    return min([instant, *(start - 1 for start in later)])


def timeline(ordered: list[Observation], runs: list[Run]) -> list[Entry]:
    """Return the observations in order: by era, and by source time within an era."""
    full = {run.started for run in runs if run.is_full}
    eras: list[list[Entry]] = [[]]
    last_era = NEVER
    of_runs: list[tuple[int, int]] = []
    for one in ordered:
        seen, run = correct(one.observed, one, runs), correct(one.run, one, runs)
        source_time = one.updated if one.updated is not None and one.updated < seen + DAY else None
        known = max([time for start, time in of_runs if start < run], default=NEVER)
        is_restored = one.run in full and source_time is not None and source_time < known
        era = seen if one.is_deletion else run if is_restored else NEVER
        if era > last_era:
            eras.append([])
            last_era = era
        position = source_time
        if position is None and not one.is_deletion:
            position = max([NEVER, *(entry.source_time for entry in eras[-1] if entry.source_time is not None)])
        place = NEVER if position is None else position
        positions = [NEVER if entry.position is None else entry.position for entry in eras[-1]]
        eras[-1].insert(bisect_right(positions, place), Entry(one, seen, position, source_time))
        if source_time is not None:
            of_runs.append((run, source_time))
    return [entry for era in eras for entry in era]
