"""A comparison that finds nothing proves nothing: each kind of difference is found and named."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from dev.scenario.dataset import Picture, differences

if TYPE_CHECKING:
    from collections.abc import Callable

BEFORE = Picture(
    rows={"shop.orders": {"[1]": "['a', 10]", "[2]": "['b', 11]"}},
    expiry={"[1]": 1000.0},
    schema=["CREATE KEYSPACE shop;", "CREATE TABLE shop.orders (\n    id int\n) WITH comment = '';"],
    answers={"city = Bern": [1, 2]},
)


def test_the_same_is_the_same() -> None:
    after = copy.deepcopy(BEFORE)
    after.expiry["[1]"] += 2  # another node's clock
    assert differences(BEFORE, after) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda p: p.rows["shop.orders"].pop("[2]"), "[2]: ['b', 11] became absent"),
        (lambda p: p.rows["shop.orders"].update({"[3]": "['c', 1]"}), "[3]: absent became ['c', 1]"),
        (lambda p: p.rows["shop.orders"].update({"[1]": "['a', 99]"}), "[1]: ['a', 10] became ['a', 99]"),
        (lambda p: p.rows.clear(), "shop.orders [1]"),
        (lambda p: p.expiry.clear(), "expiry of [1]: 1000.0 became None"),
        (lambda p: p.expiry.update({"[1]": 2000.0}), "expiry of [1]"),
        (lambda p: p.schema.pop(), "-CREATE TABLE shop.orders ("),
        (lambda p: p.schema.append("CREATE TABLE shop.more;"), "+CREATE TABLE shop.more;"),
        (lambda p: p.answers.update({"city = Bern": [1, 3]}), "city = Bern: lost [2], found besides [3]"),
    ],
)
def test_a_difference_is_named(change: Callable[[Picture], object], word: str) -> None:
    after = copy.deepcopy(BEFORE)
    change(after)
    assert word in "\n".join(differences(BEFORE, after))


def test_many_differences_are_counted() -> None:
    before = Picture(rows={"t": {f"[{number}]": "x" for number in range(50)}})
    found = differences(before, Picture())
    assert len(found) < 20
    assert found[-1] == "and 40 more differences"
