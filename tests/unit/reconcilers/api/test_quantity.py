from __future__ import annotations

import re

import pytest

from reconcilers.api.quantity import PATTERN, POSITIVE, human, parse

VALUES = {
    "0": 0,
    "1024": 1024,
    "512Mi": 512 << 20,
    "1.5Gi": 3 << 29,
    ".5Ki": 512,
    "1k": 1000,
    "10M": 10_000_000,
    "2E": 2 * 10**18,
    "1e3": 1000,
    "1E3": 1000,
    "500m": 1,  # a fraction is rounded up
    "1500m": 2,
    "1n": 1,
    "1e-3": 1,
    "-1Ki": -1024,
    "+1": 1,
    "8Ei": 2**63 - 1,  # more than Kubernetes holds
    "-9Ei": -(2**63) + 1,
    "1e99": 2**63 - 1,
}
NOT_QUANTITIES = [
    "",
    "much",
    "1 Gi",
    "1gi",
    "1KB",
    "Mi",
    "1e",
    "1e1.5",
    "0x10",
    "1e999999999",
    "NaN",
    "Infinity",
    "1_0",
]


@pytest.mark.parametrize("text", VALUES)
def test_parse(text: str) -> None:
    assert parse(text) == VALUES[text]
    assert re.match(PATTERN, text)


def test_a_number_is_a_quantity() -> None:
    assert parse(100) == 100


@pytest.mark.parametrize("text", NOT_QUANTITIES)
def test_what_is_no_quantity_is_refused_by_the_schema_and_by_us(text: str) -> None:
    assert not re.match(PATTERN, text)
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a quantity")):
        parse(text)


@pytest.mark.parametrize("text", ["1", "50Mi", "0.5Mi", ".5k", "0005", "10.0", "1e3", "100m"])
def test_a_bandwidth(text: str) -> None:
    assert re.match(POSITIVE, text)
    assert parse(text) > 0


@pytest.mark.parametrize("text", ["-50Mi", "+1", "0", "0.0", ".0Mi", "00k", "0e5", "", "Mi", "."])
def test_no_bandwidth(text: str) -> None:
    assert not re.match(POSITIVE, text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0KiB"),
        (3 << 29, "1.5GiB"),
        ((1 << 20) - 1, "1.0MiB"),
        (1 << 50, "1.0PiB"),
        (1 << 62, "4.0EiB"),
        (1 << 75, "32768.0EiB"),
    ],
)
def test_human(size: int, text: str) -> None:
    assert human(size) == text
