"""Decode pages of patients, and reject records that a loader could not take.

A page is decoded and checked against the discovered types in one pass. Only a page that fails is checked by record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any, Generic, Required, TypedDict, TypeVar

import msgspec

from tap_toubib.columns import INT64, PRIMARY_KEY, JSONSchema, is_json_text
from tap_toubib.values import to_utc

T = TypeVar("T")

Record = dict[str, Any]

INT64_TYPE = Annotated[int, msgspec.Meta(ge=INT64["minimum"], le=INT64["maximum"])]
TYPES: dict[str, Any] = {"integer": INT64_TYPE, "number": float, "boolean": bool, "string": str}
STRING_FORMATS: dict[str, Any] = {"date": date, "date-time": datetime}

CONVERTERS: dict[str, Callable[[Any], object]] = {"date": date.isoformat, "date-time": to_utc}

FIELD_IN_MESSAGE = re.compile(r"at `\$\.([^`]*)`|field `([^`]*)`")


class Meta(msgspec.Struct):
    """The used part of a page's `meta`."""

    total_items: Annotated[int, msgspec.Meta(ge=0, le=INT64["maximum"])]


class Envelope(msgspec.Struct, Generic[T]):
    """A page as the API writes it."""

    data: list[T]
    meta: Meta


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be loaded.

    Attributes:
        id: The patient's id as text, if it has one.
        number: The same as an integer, if it is one.
        field: The field at fault, by the API's name, if it is known.
        reason: The cause; never the value.
        record: The whole record, as JSON text in ASCII.
    """

    id: str | None
    number: int | None
    field: str | None
    reason: str
    record: str


@dataclass(frozen=True)
class Page:
    """One answer to the list operation.

    Attributes:
        rows: The rows in the answer's order: loadable records, whose instants are text in UTC with microseconds, and
            rejected ones.
        total_items: How many patients the API says it has.
        offset: The offset of the first row in the collection.
        read_at: When the page was read.
    """

    rows: list[Record | Rejected]
    total_items: int
    offset: int = 0
    read_at: str = ""

    @property
    def end(self) -> int:
        """The offset after the last row."""
        return self.offset + len(self.rows)

    @cached_property
    def records(self) -> list[Record]:
        """The loadable records."""
        return [row for row in self.rows if not isinstance(row, Rejected)]

    @cached_property
    def rejected(self) -> list[Rejected]:
        """The rejected records."""
        return [row for row in self.rows if isinstance(row, Rejected)]


class PageDecoder:
    """Decodes pages of patients of one schema, as discovered."""

    def __init__(self, schema: JSONSchema) -> None:
        columns = schema["properties"]
        self._converters = {key: each for key, column in columns.items() if (each := _choose_converter(column))}
        patient = _make_patient_type({key: _choose_type(column) for key, column in columns.items()})
        self._page = msgspec.json.Decoder(Envelope[patient])  # type: ignore[valid-type]  # it is one at run time
        self._patient = msgspec.json.Decoder(patient)

    def decode(self, body: bytes) -> Page:
        """Return the page in an answer.

        Raises:
            ValueError: The body is not a page of records; the message holds no value of it.
        """
        try:
            page = self._page.decode(body)
            return Page([self._convert(record) for record in page.data], page.meta.total_items)
        except ValueError:
            parsed = parse_page(body)
            return Page([self._check(item) for item in parsed.data], parsed.meta.total_items)

    def _check(self, item: object) -> Record | Rejected:
        text = json.dumps(item)
        try:
            return self._convert(self._patient.decode(text))
        except ValueError as error:
            return reject(item, text, str(error))

    def _convert(self, record: Record) -> Record:
        for key, converter in self._converters.items():
            if record.get(key) is not None:
                try:
                    record[key] = converter(record[key])
                except ValueError as error:
                    raise ValueError(f"{error} - at `$.{key}`") from error
        return record


def parse_page(body: bytes) -> Envelope[Any]:
    """Return a page with unchecked records. It may hold invalid Unicode, or NaN.

    Raises:
        ValueError: The body is not a page; the message holds no value of it.
    """
    try:
        return msgspec.convert(json.loads(body.decode(errors="surrogateescape")), Envelope[Any])
    except RecursionError as error:
        raise ValueError("Nested too deeply") from error


def reject(item: object, text: str, reason: str) -> Rejected:
    """Return a record that failed the check as a rejected one.

    Args:
        item: The record.
        text: The record as JSON.
        reason: The cause; holds no value of the record.
    """
    key = item.get(PRIMARY_KEY) if isinstance(item, dict) else None
    field = FIELD_IN_MESSAGE.search(reason)
    try:
        number = msgspec.convert(key, INT64_TYPE, strict=False)
    except ValueError:
        number = None
    return Rejected(
        id=None if key is None else json.dumps(key).strip('"'),
        number=number,
        field=field and field[field.lastindex or 0],
        reason=reason,
        record=text,
    )


def list_ids(rows: Iterable[Record | Rejected]) -> list[int]:
    """Return the integer ids of rows in their order, rejected ones included, since the source counts them, too."""
    ids = (row.number if isinstance(row, Rejected) else row[PRIMARY_KEY] for row in rows)
    return [each for each in ids if isinstance(each, int)]


def _make_patient_type(columns: dict[str, Any]) -> Any:
    # msgspec drops keys that are not ASCII in a process that has not encoded them before (its issue 1126)
    msgspec.json.encode([*columns])
    typed_dict: Any = TypedDict
    return typed_dict("Patient", columns | {PRIMARY_KEY: Required[columns[PRIMARY_KEY]]}, total=False)


def _choose_type(column: JSONSchema) -> Any:
    if is_json_text(column):
        return Any
    kind, *null = column["type"]
    python_type = STRING_FORMATS.get(column.get("format", ""), TYPES[kind])
    return python_type | None if null else python_type


def _choose_converter(column: JSONSchema) -> Callable[[Any], object] | None:
    """Return the function from a decoded value to the emitted one; None if these are equal."""
    if is_json_text(column):
        return to_json_text
    kind = column["type"][0]
    return CONVERTERS.get(column.get("format", kind))


def to_json_text(value: object) -> str:
    """Return a value of any type as JSON text with sorted keys."""
    return msgspec.json.encode(value, order="deterministic").decode()
