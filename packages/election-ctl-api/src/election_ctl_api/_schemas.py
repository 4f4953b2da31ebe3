"""JSON schemas of the types on the wire, from their attrs fields.

The names of a type's fields are read off its example as the codec writes it, so they cannot differ
from what is sent.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Union, get_args, get_origin, get_type_hints

import attrs

from election_core import MAX_INTEGER, Page, PolicySpec, encode
from election_ctl_api._examples import example_of

__all__ = ["Schema", "Schemas"]

Schema = dict[str, object]

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?")

_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    timedelta: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    object: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
}


class Schemas:
    """Collects the schemas of types, each once."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, hint: object) -> Schema:
        """The schema of a type, as the value of a field; types with fields are referred to."""
        plain = _PLAIN.get(hint)
        if plain is not None:
            return dict(plain)
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return _or_null(self.of(next(arg for arg in args if arg is not type(None))))
        if origin is tuple:
            return {"type": "array", "items": self.of(args[0])}
        if origin is Page:
            return self._page(args[0])
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(args[1])}
        if hint is PolicySpec:
            return self._component("Policy", _policy)
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            return self._component(hint.__name__, lambda: _enum(hint))
        if isinstance(hint, type) and attrs.has(hint):
            return self._component(hint.__name__, lambda: self._object(hint))
        raise TypeError(f"{hint} has no schema")

    def _component(self, name: str, make: types.FunctionType | object) -> Schema:
        if name not in self.components:
            self.components[name] = {}  # it may refer to itself
            assert callable(make)  # noqa: S101 - a function of no arguments
            self.components[name] = make()
        return {"$ref": f"#/components/schemas/{name}"}

    def _page(self, item: type) -> Schema:
        return self._component(
            f"{item.__name__}Page",
            lambda: {
                "type": "object",
                "description": f"A part of a list of {item.__name__}.",
                "required": ["items", "next_cursor"],
                "properties": {
                    "items": {"type": "array", "items": self.of(item)},
                    "next_cursor": {
                        "type": ["string", "null"],
                        "description": "Where the next part begins; null at the end.",
                    },
                },
            },
        )

    def _object(self, cls: type) -> Schema:
        hints = get_type_hints(cls)
        fields = [field for field in attrs.fields(cls) if not field.name.startswith("_")]
        written = encode(example_of(cls))
        assert isinstance(written, dict)  # noqa: S101 - attrs objects are objects
        docs = _documented(cls)
        required: list[str] = []
        properties: Schema = {}
        for field, wire in zip(fields, written, strict=True):
            schema = self.of(hints[field.name])
            said = docs.get(field.name, _unit(wire))
            if said:
                schema["description"] = said
            if field.default is attrs.NOTHING:
                required.append(wire)
            properties[wire] = schema
        found: Schema = {"type": "object", "properties": properties}
        if required:
            found["required"] = required
        summary = (cls.__doc__ or "").partition("\n")[0]
        return {"description": summary, **found} if summary else found


def _unit(wire: str) -> str:
    if wire.endswith("_seconds"):
        return "In seconds."
    return "In days." if wire.endswith("_days") else ""


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def _enum(cls: type[StrEnum]) -> Schema:
    summary = (cls.__doc__ or "").partition("\n")[0]
    return {
        "type": "string",
        "description": f"{summary} Ignore values you do not know.".strip(),
        "enum": [member.value for member in cls],
    }


def _policy() -> Schema:
    return {
        "type": "object",
        "description": "A policy by name; its options stand beside the name.",
        "properties": {"name": {"type": "string"}},
        "additionalProperties": True,
    }


@cache
def _documented(cls: type) -> Mapping[str, str]:
    """What the source says below each field, of the class and what it inherits."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue  # no source at hand: the schema stands without
        body = getattr(tree, "body", [])
        for field, text in pairwise(body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    found[name] = " ".join(_ROLE.sub("`", said.replace("``", "`")).split())
                case _:
                    pass
    return found
