"""Read OpenAPI documents, as FastAPI writes them with Pydantic 1 (OpenAPI 3.0) and 2 (3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

FORMATS = {"date", "date-time"}


class Schema(msgspec.Struct, rename="camel"):
    """The used part of a JSON schema; nested schemas are read when they are expanded."""

    ref: str | None = msgspec.field(name="$ref", default=None)
    any_of: list[Any] = []
    all_of: list[Any] = []
    type: str | list[str] = []
    nullable: bool = False
    format: str | None = None
    enum: list[Any] = []
    const: Any = None
    description: str | None = None
    maximum: float | None = None
    exclusive_maximum: float | None = None
    items: Any = None
    properties: dict[str, Any] = {}
    required: list[str] = []
    additional_properties: Any = None

    @property
    def values(self) -> list[Any]:
        """The only values that it allows; a null if it does not list any."""
        return self.enum or [self.const]

    @property
    def types(self) -> set[str]:
        """JSON's types, with `date` and `date-time` for text of these formats; empty if any type is allowed."""
        types = {self.type} if isinstance(self.type, str) else {*self.type}
        if types and self.nullable:
            types.add("null")
        if not types and all(isinstance(each, str) for each in self.values):
            return {"string"}
        return {self.format if each == "string" and self.format in FORMATS else each for each in types}


class Parameter(msgspec.Struct):
    """A parameter of an operation."""

    name: str
    schema: Any = None


class OpenAPIDocument:
    """An OpenAPI document. Its methods raise msgspec.ValidationError if it is malformed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def get(self, *keys: str) -> Any:
        """Return the part at a path of keys; None if there is none."""
        part: Any = self._root
        for key in keys:
            part = part.get(key) if isinstance(part, dict) else None
        return part

    def expand(self, node: object) -> list[Schema]:
        """Return the alternatives that a schema allows, with references followed."""
        schema = msgspec.convert(node or {}, Schema)
        parts = schema.any_of or schema.all_of
        if schema.ref:
            parts = [self.get(*schema.ref.split("/")[1:])]
        forms = [form for part in parts for form in self.expand(part)] or [schema]
        return [msgspec.structs.replace(form, description=schema.description or form.description) for form in forms]

    def resolve(self, node: object) -> Schema:
        """Return the first alternative."""
        return self.expand(node)[0]


def find_largest(forms: Sequence[Schema]) -> int | None:
    """Return the largest integer that a schema allows; None if it has no bound."""
    bounds = [form.maximum for form in forms if form.maximum is not None]
    bounds += [form.exclusive_maximum - 1 for form in forms if form.exclusive_maximum is not None]
    return max(map(int, bounds), default=None)
