"""Pages of patients: decoding them, and keeping aside what a loader could not take.

A page is decoded and checked against the negotiated types in one pass. Only a page that fails is taken apart.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Any, Generic, Required, TypedDict, TypeVar

import msgspec

from tap_toubib.discovery import INT64, JSON_TEXT, PRIMARY_KEY, JSONSchema

T = TypeVar("T")

Record = dict[str, Any]

MAX_RECORD_BYTES = 500_000
"""A longer record is kept aside: as it is configured here, Meltano passes on lines of up to 1 MiB, and JSON text in a
column can be twice as long as it came."""

INT64_TYPE = Annotated[int, msgspec.Meta(ge=INT64["minimum"], le=INT64["maximum"])]
TYPES: dict[str, Any] = {"integer": INT64_TYPE, "number": float, "boolean": bool, "string": str}
STRING_FORMATS: dict[str, Any] = {"date": date, "date-time": datetime}

FIELD_IN_MESSAGE = re.compile(r"`\$\.(?P<wrong>[^`.\[]+)|field `(?P<missing>[^`]+)`")


# a number of any length is to be told from an answer that is no JSON
sys.set_int_max_str_digits(0)


class Meta(msgspec.Struct):
    """The part of a page's `meta` that is relied on."""

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
        field: The column at fault, if one can be named.
        reason: What is wrong with it; never the value.
        record: The whole record, as JSON text in ASCII.
    """

    id: str | None
    field: str | None
    reason: str
    record: str


@dataclass(frozen=True)
class Page:
    """One answer to the list operation.

    Attributes:
        rows: What the answer held, in its order: loadable records, whose instants are text, UTC with microseconds, and
            the others.
        total_items: How many patients the whole collection held at that moment.
        offset: Where it began in the collection.
        read_at: When it was read.
    """

    rows: list[Record | Rejected]
    total_items: int
    offset: int = 0
    read_at: str = ""

    @cached_property
    def records(self) -> list[Record]:
        """The loadable records."""
        return [row for row in self.rows if not isinstance(row, Rejected)]

    @cached_property
    def rejected(self) -> list[Rejected]:
        """The other ones."""
        return [row for row in self.rows if isinstance(row, Rejected)]


class PageDecoder:
    """Decodes pages of patients of one schema."""

    def __init__(self, schema: JSONSchema) -> None:
        """Prepare the decoders.

        Args:
            schema: JSON schema of a patient, as negotiated.
        """
        properties = schema["properties"]
        self._converters = {
            **{name: to_utc for name, column in properties.items() if column.get("format") == "date-time"},
            **{name: date.isoformat for name, column in properties.items() if column.get("format") == "date"},
            **{name: to_json_text for name, column in properties.items() if column == JSON_TEXT},
        }
        columns = {name: _python_type(column) for name, column in properties.items()}
        patient = _patient_type(columns)
        self._page = msgspec.json.Decoder(Envelope[patient])  # type: ignore[valid-type]  # it is one at run time
        self._patient = msgspec.json.Decoder(patient)

    def decode(self, body: bytes) -> Page:
        """Return the page that an answer holds.

        Raises:
            ValueError: The body is no page of records; the message holds no value of it.
        """
        try:
            return self._decode(body)
        except RecursionError as error:
            raise ValueError("Nested too deeply") from error

    def _decode(self, body: bytes) -> Page:
        if len(body) > MAX_RECORD_BYTES:
            return self._take_apart(body)
        try:
            page = self._page.decode(body)
            return Page([self._convert(record) for record in page.data], page.meta.total_items)
        except ValueError:
            return self._take_apart(body)

    def _take_apart(self, body: bytes) -> Page:
        # the standard library's decoder reads what is no valid Unicode, too
        page = msgspec.convert(json.loads(body.decode(errors="surrogateescape")), Envelope[Any])
        return Page([self._decode_one(item) for item in page.data], page.meta.total_items)

    def _decode_one(self, item: object) -> Record | Rejected:
        text = json.dumps(item)
        if len(text) > MAX_RECORD_BYTES:
            return reject(item, f"Longer than {MAX_RECORD_BYTES} bytes")
        try:
            return self._convert(self._patient.decode(text))
        except ValueError as error:
            return reject(item, str(error))

    def _convert(self, record: Record) -> Record:
        for name, converter in self._converters.items():
            if record.get(name) is not None:
                try:
                    record[name] = converter(record[name])
                except ValueError as error:
                    raise ValueError(f"{error} - at `$.{name}`") from error
        return record


def reject(item: object, reason: str) -> Rejected:
    """Return what is to be said of a record that failed the check."""
    key = item.get(PRIMARY_KEY) if isinstance(item, dict) else None
    field = FIELD_IN_MESSAGE.search(reason)
    return Rejected(
        id=None if key is None else json.dumps(key).strip('"'),
        field=field and (field["wrong"] or field["missing"]),
        reason=reason,
        record=json.dumps(item),
    )


def to_utc(instant: datetime) -> str:
    """Return the one form in which instants are written, in which text sorts as time does; naive ones are in UTC.

    Raises:
        ValueError: The instant lies outside of the years 1 to 9999 when told in UTC.
    """
    try:
        utc = instant.astimezone(UTC) if instant.tzinfo else instant
    except OverflowError as error:
        raise ValueError("Instant out of range") from error
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_json_text(value: object) -> str:
    """Return a value of any type as JSON text."""
    return msgspec.json.encode(value).decode()


def _patient_type(columns: dict[str, Any]) -> Any:
    typed_dict: Any = TypedDict
    return typed_dict("Patient", columns | {PRIMARY_KEY: Required[columns[PRIMARY_KEY]]}, total=False)


def _python_type(column: JSONSchema) -> Any:
    if column == JSON_TEXT:
        return Any
    kind, *null = column["type"]
    python_type = STRING_FORMATS.get(column.get("format", ""), TYPES[kind])
    return python_type | None if null else python_type
