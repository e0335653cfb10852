"""Reading OpenAPI documents, versions 3.0 and 3.1: references followed, compositions taken together.

A reader asks for what it wants and gets nothing ({}, an empty set) where a document is silent or makes no sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

Node = dict[str, Any]

ALTERNATIVES = ("anyOf", "oneOf")
JSON_MEDIA_TYPE = re.compile(r"(application|\*)/(json|[^;]+\+json|\*)\s*(;.*)?", re.IGNORECASE)
SUCCESS = ("200", "2XX", "2xx", "default")

# number includes integer, and text includes what has a format
TYPES = {
    "null": {"null"},
    "boolean": {"boolean"},
    "integer": {"integer"},
    "number": {"integer", "number"},
    "string": {"string", "date", "date-time"},
    "array": {"array"},
    "object": {"object"},
}
FORMATS = {"date", "date-time"}
ANY_TYPE = frozenset().union(*TYPES.values())
PYTHON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class OpenAPIDocument:
    """An OpenAPI document."""

    def __init__(self, document: Node) -> None:
        self.root = document
        self._resolver = Registry().with_resource("", DRAFT202012.create_resource(document)).resolver()
        # by reference; what one that refers to itself says is not known before it was followed
        self._types: dict[str, frozenset[str]] = {}
        self._required: dict[str, frozenset[str]] = {}

    def follow(self, node: object) -> Node:
        """Return what a node stands for: itself, or what it refers to with its own keys put over that."""
        seen = set()
        while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
            if reference in seen:
                return {}
            seen.add(reference)
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**_as_dict(self._look_up(reference)), **beside}
        return _as_dict(node)

    def get(self, node: object, key: str) -> Node:
        """Return what stands under a key of a node, references followed on the way."""
        return self.follow(self.follow(node).get(key))

    def get_parameters(self, item: Node, operation: Node) -> dict[str, object]:
        """Return the schemas of the query's parameters by name: those of the operation before those of the path."""
        parameters = [self.follow(each) for owner in (item, operation) for each in _as_list(owner.get("parameters"))]
        return {
            str(each.get("name")): each.get("schema", self.get_json_schema(each))
            for each in parameters
            if each.get("in", "query") == "query"
        }

    def get_answer(self, operation: Node) -> object:
        """Return the schema of the JSON that an operation answers with if all goes well."""
        responses = self.get(operation, "responses")
        return next((self.get_json_schema(self.get(responses, code)) for code in SUCCESS if code in responses), {})

    def get_json_schema(self, node: Node) -> object:
        """Return the schema of the JSON among the media types of a response or a parameter."""
        content = self.get(node, "content")
        media_type = next((each for each in content if JSON_MEDIA_TYPE.fullmatch(each)), "")
        return self.get(content, media_type).get("schema", {})

    def walk(self, schema: object, seen: set[str] | None = None) -> Iterator[Node]:
        """Yield the schemas that one is composed of, itself among them, each reference once."""
        seen = set() if seen is None else seen
        if not isinstance(schema, dict):
            return
        yield schema
        if isinstance(reference := schema.get("$ref"), str) and reference not in seen:
            seen.add(reference)
            yield from self.walk(self._look_up(reference), seen)
        for keyword in ("allOf", *ALTERNATIVES):
            for part in _as_list(schema.get(keyword)):
                yield from self.walk(part, seen)

    def get_properties(self, schema: object) -> Node:
        """Return the schemas of all properties that an object can have in any of its forms."""
        found: dict[str, list[Any]] = {}
        for part in self.walk(schema):
            for name, each in _as_dict(part.get("properties")).items():
                if each is not False:
                    found.setdefault(name, []).append(each)
        return {name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for name, schemas in found.items()}

    def get_items(self, schema: object) -> Node:
        """Return the schema of the items that an array can have in any of its forms."""
        return {"anyOf": [part["items"] for part in self.walk(schema) if "items" in part]}

    def get_required(self, schema: object) -> frozenset[str]:
        """Return the properties that an object has in all of its forms."""
        if not isinstance(schema, dict):
            return frozenset()
        names = frozenset(_as_list(schema.get("required")))
        if isinstance(reference := schema.get("$ref"), str):
            if reference not in self._required:
                self._required[reference] = frozenset()
                self._required[reference] = self.get_required(self._look_up(reference))
            names |= self._required[reference]
        for part in _as_list(schema.get("allOf")):
            names |= self.get_required(part)
        for keyword in ALTERNATIVES:
            # null, as one of them, takes no property away
            if alternatives := [each for each in _as_list(schema.get(keyword)) if "object" in self.get_types(each)]:
                names |= frozenset.intersection(*map(self.get_required, alternatives))
        return names

    def is_closed(self, schema: object) -> bool:
        """Tell whether an object has no properties but those that are named."""
        closing = {"additionalProperties", "unevaluatedProperties"}
        return any(part.get(keyword) is False for part in self.walk(schema) for keyword in closing)

    def get_values(self, schema: object) -> set[str]:
        """Return the texts that a schema lists as its values, or as those of its items."""
        parts = [*self.walk(schema), *self.walk(self.get_items(schema))]
        listed = [value for part in parts for value in [*_as_list(part.get("enum")), part.get("const")]]
        return {value for value in listed if isinstance(value, str)}

    def get_description(self, schema: object) -> str | None:
        """Return what a schema says of itself, the outermost first."""
        texts = (part.get("description") for part in self.walk(schema))
        return next((text for text in texts if text and isinstance(text, str)), None)

    def get_largest(self, schema: object) -> int | None:
        """Return the largest integer that a schema allows, if it has a bound that makes sense."""
        bounds = [
            int(bound) - (keyword == "exclusiveMaximum")
            for part in self.walk(schema)
            for keyword in ("maximum", "exclusiveMaximum")
            if isinstance(bound := part.get(keyword), int | float) and not isinstance(bound, bool)
        ]
        return max(bounds, default=None)

    def get_types(self, schema: object) -> frozenset[str]:
        """Return the JSON types that a value can have; `date` and `date-time` are types of their own within text."""
        if not isinstance(schema, dict):
            return ANY_TYPE
        types = _list_own_types(schema)
        if isinstance(reference := schema.get("$ref"), str):
            if reference not in self._types:
                self._types[reference] = ANY_TYPE
                self._types[reference] = self.get_types(self._look_up(reference))
            types &= self._types[reference]
        for part in _as_list(schema.get("allOf")):
            types &= self.get_types(part)
        for keyword in ALTERNATIVES:
            if alternatives := _as_list(schema.get(keyword)):
                types &= frozenset().union(*map(self.get_types, alternatives))
        return types | {"null"} if schema.get("nullable") is True else types

    def _look_up(self, reference: str) -> object:
        try:
            return self._resolver.lookup(reference).contents
        except Unresolvable:
            return {}


def _list_own_types(schema: Node) -> frozenset[str]:
    """Return the types that a schema allows by itself, without those it is composed of."""
    types = ANY_TYPE
    if names := schema.get("type"):
        types &= frozenset().union(*(TYPES.get(name, ANY_TYPE) for name in _as_list(names) or [names]))
    if schema.get("format") in FORMATS:
        types -= TYPES["string"] - {schema["format"]}
    if values := [schema["const"]] if "const" in schema else _as_list(schema.get("enum")):
        types &= frozenset().union(*(TYPES[PYTHON_TYPES.get(type(value), "null")] for value in values))
    return types


def _as_dict(node: object) -> Node:
    return node if isinstance(node, dict) else {}


def _as_list(node: object) -> list[Any]:
    return node if isinstance(node, list) else []
