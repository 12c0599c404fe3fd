"""Children that are as they should be cost no request: compare first, apply only what differs.

What was applied last is remembered as a hash in an annotation of the child. So a field that is no longer wanted is
noticed, too, which comparing with the observed object alone cannot do.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.client import Client
    from controller.objects import RawObject
    from controller.resource import Resource

APPLIED = "cassandra-operator.instaclustr.com/applied"

_log = structlog.get_logger("controller.desired")

_SUFFIX = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"} | {
    "P": "1e15",
    "E": "1e18",
    **{f"{letter}i": str(1024 ** (i + 1)) for i, letter in enumerate("KMGTPE")},
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")
_QUANTITY_FIELDS = frozenset({"limits", "requests", "capacity", "sizeLimit", "divisor"})


def quantity(value: object) -> Decimal | None:
    """The value of a Kubernetes quantity ("500m", "1Gi", 2); None for what is none."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if found is None or isinstance(value, bool):
        return None
    try:
        return Decimal(found[1]) * Decimal(_SUFFIX[found[2] or ""])
    except InvalidOperation:
        return None


def matches(desired: Mapping[str, Any], observed: Mapping[str, Any]) -> bool:
    """Whether ``observed`` has every field of ``desired``; what the API server and others added does not count.

    - Lists are equal element by element, with the same length; but finalizers and owners may have more.
    - Quantities are compared by value, where Kubernetes has quantities.
    - A zero value ("", 0, false, [], {}, None) equals a missing field, as in the API's own JSON.
    - ``apiVersion`` and ``kind`` are not compared (items of a list lack them), nor ``stringData`` (never given back).
    """
    return first_difference(desired, observed) == ""


def first_difference(desired: Mapping[str, Any], observed: Mapping[str, Any]) -> str:
    """The path of the first field that differs, "" when ``matches``."""
    skipped = ("apiVersion", "kind", "stringData")
    return _differs({k: v for k, v in desired.items() if k not in skipped}, observed, "", quantities=False)


def _differs(desired: Any, observed: Any, path: str, *, quantities: bool) -> str:
    if isinstance(desired, dict) and isinstance(observed, dict):
        for name, value in desired.items():
            here = f"{path}.{name}"
            if name not in observed:
                if not _is_zero(name, value):
                    return here
            elif found := _differs(value, observed[name], here, quantities=quantities or name in _QUANTITY_FIELDS):
                return found
        return ""
    if isinstance(desired, list) and isinstance(observed, list):
        return _list_differs(desired, observed, path, quantities=quantities)
    if desired == observed and isinstance(desired, bool) == isinstance(observed, bool):
        return ""
    if quantities and quantity(desired) is not None and quantity(desired) == quantity(observed):
        return ""
    return "" if desired is None and _is_zero("", observed) else path or "."


def _is_zero(name: str, value: object) -> bool:
    """What the API server leaves out. Not ``emptyDir: {}``, which says what kind of volume it is."""
    return not value and name != "emptyDir"


def _list_differs(desired: list[Any], observed: list[Any], path: str, *, quantities: bool) -> str:
    if path in (".metadata.finalizers", ".metadata.ownerReferences"):
        for i, want in enumerate(desired):
            if all(_differs(want, have, path, quantities=False) for have in observed):
                return f"{path}[{i}]"
        return ""
    if len(desired) != len(observed):
        return path
    for i, (want, have) in enumerate(zip(desired, observed, strict=True)):
        if found := _differs(want, have, f"{path}[{i}]", quantities=quantities):
            return found
    return ""


def digest(desired: Mapping[str, Any]) -> str:
    """Of the content, whatever the order of its keys."""
    return hashlib.sha256(msgspec.json.encode(desired, order="deterministic")).hexdigest()[:16]


def stamped(desired: Mapping[str, Any]) -> dict[str, Any]:
    """``desired`` with the hash of it in its annotations; the argument stays as it is."""
    metadata = dict(desired["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED: digest(desired)}
    return {**desired, "metadata": metadata}


async def ensure(client: Client, resource: Resource, desired: Mapping[str, Any], observed: RawObject | None) -> bool:
    """Applies ``desired`` unless ``observed`` is it already; whether it wrote.

    ``observed`` comes from a store, so at worst it is old and the same is applied twice. Pass None for what may not be
    read (Secrets): then this writes every time, and the caller has to know when.
    """
    full = stamped(desired)
    if observed is not None:
        difference = first_difference(full, observed.body)
        if not difference:
            return False
        _log.info("child differs", resource=str(resource), key=str(desired["metadata"].get("name")), field=difference)
    applied = await client.apply(resource, full)
    if left := first_difference(full, applied):
        # a webhook or another controller sets the field differently: every reconcile would apply it again
        _log.warning("child differs after apply", resource=str(resource), key=str(full["metadata"]["name"]), field=left)
    return True
