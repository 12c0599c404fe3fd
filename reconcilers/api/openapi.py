"""msgspec types to the structural OpenAPI v3 schema of a CustomResourceDefinition. Pure.

Struct           object with its fields; required are those without a default
dict[str, X]     object with additionalProperties X
dict[str, Any]   object that keeps what it is given; with doc(shape=S), an object with the fields of S
list[X]          array; atomic, or a map by doc(list_map=...)
int | str        int-or-string, the type of a quantity
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

    from reconcilers.api.describe import Rule

Schema = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def object_schema(struct: type[msgspec.Struct]) -> Schema:
    """The fields of ``struct``, and the rules it names in ``RULES``."""
    fields = inspect.type_info(struct)
    assert isinstance(fields, inspect.StructType)
    schema: Schema = {
        "type": "object",
        "properties": {field.encode_name: _schema(field.type) for field in fields.fields},
    }
    if required := [field.encode_name for field in fields.fields if field.required]:
        schema["required"] = required
    if rules := getattr(struct, "RULES", ()):
        schema["x-kubernetes-validations"] = validations(rules)
    return schema


def validations(rules: Iterable[Rule]) -> list[dict[str, str]]:
    return [{"rule": rule.rule, "message": rule.message} for rule in rules]


def _schema(given: inspect.Type) -> Schema:
    extra: dict[str, Any] = {}
    keywords: dict[str, Any] = {}
    while isinstance(given, inspect.Metadata):
        keywords = {**(given.extra_json_schema or {}), **keywords}
        extra = {**(given.extra or {}), **extra}
        given = given.type
    schema = _of_type(given, extra)
    rules = [*schema.pop("x-kubernetes-validations", []), *validations(extra.get("rules", ()))]
    description = {"description": keywords.pop("description")} if "description" in keywords else {}
    schema = {**description, **schema, **keywords}
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _of_type(given: inspect.Type, extra: dict[str, Any]) -> Schema:
    match given:
        case inspect.StructType():
            return object_schema(given.cls)
        case inspect.DictType(value_type=inspect.AnyType()):
            shape = extra.get("shape")
            return object_schema(shape) if shape else {"type": "object", _PRESERVE: True}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _schema(given.value_type)}
        case inspect.ListType():
            return _array(given, extra)
        case inspect.UnionType():
            return _union(given, extra)
        case inspect.EnumType():
            return {"type": "string", "enum": [str(member) for member in given.cls]}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", "format": "int64"}
        case inspect.StrType():
            return {"type": "string"}
        case _:
            raise TypeError(f"no schema is known for {given}")


def _array(given: inspect.ListType, extra: dict[str, Any]) -> Schema:
    shape = extra.get("shape")
    schema: Schema = {"type": "array", "items": object_schema(shape) if shape else _schema(given.item_type)}
    if key := extra.get("list_map"):
        return {**schema, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return {**schema, "x-kubernetes-list-type": "atomic"}


def _union(given: inspect.UnionType, extra: dict[str, Any]) -> Schema:
    """``X | None`` is X: an absent field is None, and null is refused."""
    types = [one for one in given.types if not isinstance(one, inspect.NoneType)]
    if len(types) == 1:
        return _schema(types[0]) if not extra else _of_type(types[0], extra)
    if {type(one) for one in types} == {inspect.IntType, inspect.StrType}:
        return {"x-kubernetes-int-or-string": True}
    raise TypeError(f"no schema is known for {given}")
