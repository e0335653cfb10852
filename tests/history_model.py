"""The rule of the history once more, as a plain loop: what the SQL is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

DAY = 24 * 60 * 60 * 1_000_000
NEVER = -DAY * 1_000_000


@dataclass(frozen=True)
class Observation:
    """What was seen of a patient; instants are microseconds.

    Attributes:
        observed: When it was seen.
        updated: The source's `updated_at`.
        deleted: When the patient was found to be gone; None while it lives.
        names: Content that every run could see.
        insurance: Content of a column that appeared later.
    """

    observed: int
    updated: int | None
    deleted: int | None
    names: tuple[str | None, ...]
    insurance: str | None


@dataclass
class Version:
    """A version, as in `patients_history`."""

    names: tuple[str | None, ...]
    insurance: str | None
    valid_from: int
    observed: int
    updated: int | None
    valid_to: int | None = None
    ended_by: str | None = None


def versions(observations: list[Observation], appeared: int) -> list[Version]:
    """Return the versions of one patient.

    Args:
        observations: In any order, repetitions included.
        appeared: When the column `insurance` was first known to be there.
    """
    seen = sorted(observations, key=lambda one: one.observed)
    result: list[Version] = []
    last_begin = last_place = None
    last_content: tuple[object, ...] | None = None
    for place, source, one in sorted(places(informed(seen, appeared)), key=lambda entry: entry[0]):
        content = None if one.deleted is not None else (one.names, one.insurance)
        if content == last_content:
            if content and one.updated is not None:
                result[-1].updated = max(one.updated, result[-1].updated or one.updated)
        else:
            changed_in_place = one.deleted is None and source == last_place
            begin = one.observed if source is None or changed_in_place else source
            begin = begin if last_begin is None else max(begin, last_begin + 1)
            if last_content:
                result[-1].valid_to = begin
                result[-1].ended_by = "change" if content else "deletion"
            if content:
                result.append(Version(one.names, one.insurance, begin, one.observed, one.updated))
            last_begin = begin
        last_content = content
        last_place = place
    return result


def informed(seen: list[Observation], appeared: int) -> list[Observation]:
    """Replace unknown values."""
    known = [one for one in seen if one.insurance is not None or one.observed >= appeared]
    first: dict[int | None, str | None] = {}
    for one in known:
        if one.deleted is None:
            first.setdefault(one.updated, one.insurance)
    return [one if one in known else replace(one, insurance=first.get(one.updated)) for one in seen]


def places(seen: list[Observation]) -> list[tuple[int, int | None, Observation]]:
    """Return for each observation where it stands, and its source time."""
    result = []
    deleted_before = latest = NEVER
    for one in seen:
        source = one.updated
        if source is not None and (source <= deleted_before or source > one.observed + DAY):
            source = None
        if one.deleted is not None:
            source = one.deleted
            deleted_before = max(deleted_before, one.deleted)
        result.append((latest if source is None else source, source, one))
        latest = latest if source is None else max(latest, source)
    return result
