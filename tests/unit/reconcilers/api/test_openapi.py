from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
import pytest

from reconcilers.api.describe import Rule, doc
from reconcilers.api.openapi import object_schema


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, rename="camel", kw_only=True):
    RULES: ClassVar = (Rule("self.someName != ''", "say a name"),)
    some_name: Annotated[str, doc("A name.", maxLength=63)]


class Outer(msgspec.Struct, rename="camel", kw_only=True):
    number: Annotated[int, doc("A number.", minimum=1)] = 1
    flag: bool = False
    colour: Colour = Colour.RED
    amount: Annotated[int | str | None, doc("An amount.", pattern="^x$")] = None
    inner: Annotated[Inner | None, doc("Something.", rules=(Rule("true", "never"),))] = None
    names: Annotated[list[Annotated[str, doc("One.")]], doc("Some.", maxItems=2)] = []
    inners: Annotated[list[Inner], doc("Several.", list_map="someName")] = []
    labels: dict[str, str] = {}
    anything: Annotated[dict[str, Any], doc("As it is.")] = {}
    shaped: Annotated[dict[str, Any], doc("Known in part.", shape=Inner)] = {}
    shapes: Annotated[list[dict[str, Any]], doc("Several of those.", shape=Inner)] = []


INNER = {
    "type": "object",
    "properties": {"someName": {"description": "A name.", "type": "string", "maxLength": 63}},
    "required": ["someName"],
    "x-kubernetes-validations": [{"rule": "self.someName != ''", "message": "say a name"}],
}
WANTED: dict[str, dict[str, Any]] = {
    "number": {"description": "A number.", "type": "integer", "format": "int64", "minimum": 1},
    "flag": {"type": "boolean"},
    "colour": {"type": "string", "enum": ["red", "blue"]},
    "amount": {"description": "An amount.", "x-kubernetes-int-or-string": True, "pattern": "^x$"},
    "inner": {
        "description": "Something.",
        **INNER,
        "x-kubernetes-validations": [
            {"rule": "self.someName != ''", "message": "say a name"},
            {"rule": "true", "message": "never"},
        ],
    },
    "names": {
        "description": "Some.",
        "type": "array",
        "items": {"description": "One.", "type": "string"},
        "x-kubernetes-list-type": "atomic",
        "maxItems": 2,
    },
    "inners": {
        "description": "Several.",
        "type": "array",
        "items": INNER,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["someName"],
    },
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "anything": {"description": "As it is.", "type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "shaped": {"description": "Known in part.", **INNER},
    "shapes": {
        "description": "Several of those.",
        "type": "array",
        "items": INNER,
        "x-kubernetes-list-type": "atomic",
    },
}


@pytest.mark.parametrize("name", WANTED)
def test_a_type(name: str) -> None:
    assert object_schema(Outer)["properties"][name] == WANTED[name]


def test_what_has_a_default_is_not_required() -> None:
    assert "required" not in object_schema(Outer)
    assert object_schema(Inner)["required"] == ["someName"]


def test_a_type_without_a_schema_is_an_error() -> None:
    class Odd(msgspec.Struct):
        value: float

    class Union(msgspec.Struct):
        value: bool | str

    for struct in (Odd, Union):
        with pytest.raises(TypeError, match="no schema is known"):
            object_schema(struct)
