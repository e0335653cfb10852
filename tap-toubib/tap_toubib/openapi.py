"""Read OpenAPI documents, as FastAPI writes them with Pydantic 1 (OpenAPI 3.0) and 2 (3.1).

Missing and unexpected parts give an empty result: {}, an empty list or set, None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Node = dict[str, Any]

FORMATS = ("date", "date-time")
PYTHON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

BOUND = "bound"
"""The key of the largest integer that an expanded schema allows."""


class OpenAPIDocument:
    """An OpenAPI document."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def get(self, *keys: str) -> Node:
        """Return the object at a path of keys."""
        node = self.root
        for key in keys:
            node = as_dict(node.get(key))
        return node

    def expand(self, schema: object, followed: frozenset[str] = frozenset()) -> list[Node]:
        """Return the alternative forms of a schema; each has its references and its `allOf` merged into it."""
        if not isinstance(schema, dict):
            return [{}]
        forms = [schema | {BOUND: _find_bound(schema)}]
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in followed:
            target = self.get(*reference.split("/")[1:])
            forms = _merge(self.expand(target, followed | {reference}), forms)
        for part in as_list(schema.get("allOf")):
            forms = _merge(self.expand(part, followed), forms)
        if alternatives := as_list(schema.get("anyOf")) + as_list(schema.get("oneOf")):
            forms = _merge([form for each in alternatives for form in self.expand(each, followed)], forms)
        return [*forms, {"type": "null"}] if schema.get("nullable") is True else forms


def list_properties(forms: Iterable[Node]) -> dict[str, object]:
    """Return the schemas of the properties that an object has in any of its forms."""
    found: dict[str, list[object]] = {}
    for form in forms:
        for name, schema in as_dict(form.get("properties")).items():
            found.setdefault(name, []).append(schema)
    return {name: {"anyOf": schemas} for name, schemas in found.items()}


def list_types(forms: Iterable[Node]) -> set[str]:
    """Return the types that a value can have: JSON's, and `date` and `date-time` for text of these formats."""
    types = set()
    for form in forms:
        values = [form["const"]] if "const" in form else as_list(form.get("enum"))
        kinds = as_list(form.get("type")) or [form.get("type")]
        if "type" not in form and values:
            kinds = [PYTHON_TYPES.get(type(value), "null") for value in values]
        is_formatted = form.get("format") in FORMATS
        types |= {form["format"] if kind == "string" and is_formatted else str(kind) for kind in kinds}
    return types


def list_values(forms: Iterable[Node]) -> set[str]:
    """Return the texts that a schema lists as its values."""
    listed = [value for form in forms for value in [*as_list(form.get("enum")), form.get("const")]]
    return {value for value in listed if isinstance(value, str)}


def find_largest(forms: Iterable[Node]) -> int | None:
    """Return the largest integer that a schema allows, None if it has no bound."""
    return max((form[BOUND] for form in forms if form.get(BOUND) is not None), default=None)


def find_description(forms: Iterable[Node]) -> str | None:
    """Return the description of a schema."""
    texts = (form.get("description") for form in forms)
    return next((text for text in texts if text and isinstance(text, str)), None)


def as_dict(node: object) -> Node:
    """Return a node if it is an object, otherwise {}."""
    return node if isinstance(node, dict) else {}


def as_list(node: object) -> list[Any]:
    """Return a node if it is an array, otherwise []."""
    return node if isinstance(node, list) else []


def _merge(bases: list[Node], forms: list[Node]) -> list[Node]:
    """Return each form merged over each base: with the properties of both, and the smaller bound."""
    return [
        base
        | form
        | {
            "properties": as_dict(base.get("properties")) | as_dict(form.get("properties")),
            "required": as_list(base.get("required")) + as_list(form.get("required")),
            BOUND: min((each[BOUND] for each in (base, form) if each.get(BOUND) is not None), default=None),
        }
        for base in bases
        for form in forms
    ]


def _find_bound(schema: Node) -> int | None:
    bounds = [
        int(bound) - (keyword == "exclusiveMaximum")
        for keyword in ("maximum", "exclusiveMaximum")
        if isinstance(bound := schema.get(keyword), int | float) and not isinstance(bound, bool)
    ]
    return min(bounds, default=None)
