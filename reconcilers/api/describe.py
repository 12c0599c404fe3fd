"""What a field's annotation says beyond its type: the text of ``kubectl explain``, bounds, and CEL rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Rule(NamedTuple):
    """A CEL validation (``x-kubernetes-validations``) of the object it is attached to. ``message`` says what to do."""

    rule: str
    message: str


def doc(
    description: str,
    *,
    shape: type[msgspec.Struct] | None = None,
    list_map: str = "",
    rules: tuple[Rule, ...] = (),
    **schema: Any,
) -> msgspec.Meta:
    """Annotates a field. ``schema`` holds OpenAPI keywords as they are written there (``maxLength=63``).

    ``shape`` declares what is inside a value that Python keeps as a plain dict (or a list of them), because it goes to
    Kubernetes word for word. ``list_map`` names the key of a list whose items are unique and merged by that key.
    """
    extra = {key: value for key, value in (("shape", shape), ("list_map", list_map), ("rules", rules)) if value}
    return msgspec.Meta(description=description, extra_json_schema=schema or None, extra=extra or None)


def unchanged(field: str, message: str) -> Rule:
    """For the object that holds ``field``: it is what it was, and neither added nor removed.

    A rule of the field itself would not run where the field comes or goes. Not ``self.?field``: the API server's
    estimate of a rule's cost knows no bound of an optional's size, and refuses the definition.
    """
    rule = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return Rule(rule, message)
