"""Kubernetes quantities: ``512Mi``, ``500m``, ``1e3``, or a number."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

# k8s.io/apimachinery, resource.Quantity: a signed number, then a suffix or an exponent. The same expression stands in
# the CRDs. Two digits of exponent are more than Kubernetes can hold, and none that takes a program long to write out.
_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_EXPONENT = r"[eE][+-]?[0-9]{1,2}"
_SUFFIX = r"[KMGTPE]i|[numkMGTPE]"
_NOT_ZERO = r"([0-9]*[1-9][0-9]*(\.[0-9]*)?|[0-9]*\.[0-9]*[1-9][0-9]*)"
POSITIVE = rf"^{_NOT_ZERO}({_EXPONENT}|{_SUFFIX})?$"
PATTERN = rf"^[+-]?{_NUMBER}({_EXPONENT}|{_SUFFIX})?$"
_PARTS = re.compile(rf"(?P<number>[+-]?{_NUMBER})(?:(?P<exponent>{_EXPONENT})|(?P<suffix>{_SUFFIX}))?")
_LARGEST = 2**63 - 1  # Kubernetes caps there too
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_BINARY = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def parse(value: str | int) -> int:
    """The quantity as a whole number (bytes, bytes a second), a fraction rounded up as Kubernetes does.

    Raises ValueError with a sentence for the user.
    """
    match = _PARTS.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a quantity: write a number with an optional suffix, such as 512Mi or 10M")
    amount = Decimal(match["number"] + (match["exponent"] or "")) * _SUFFIXES.get(match["suffix"], Decimal(1))
    if abs(amount) > _LARGEST:
        return _LARGEST if amount > 0 else -_LARGEST
    return int(amount.to_integral_value(ROUND_CEILING))


def human(size: int) -> str:
    """Bytes for a column a person reads: ``0B``, ``1.5GiB``."""
    amount, unit = float(size), "B"
    for larger in _BINARY:
        if amount < 1023.95:  # else it would be printed as 1024.0
            break
        amount, unit = amount / 1024, larger
    return f"{size}B" if unit == "B" else f"{amount:.1f}{unit}"
