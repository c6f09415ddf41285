"""Options of a method: from a config node, and checked against the types of their fields."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from simnl.fewshot.options import Options


@dataclass(frozen=True)
class Some(Options):
    NODE = "TRAINER.SOME"

    rule: Literal["first", "last"] = "first"
    parts: tuple[Literal["a", "b"], ...] = ("a", "b")
    weight: float = 0.5


def test_defaults_are_the_keys_of_the_node_and_back():
    assert Some.defaults() == {"RULE": "first", "PARTS": ("a", "b"), "WEIGHT": 0.5}
    assert Some.defaults(without=("rule",)) == {"PARTS": ("a", "b"), "WEIGHT": 0.5}
    assert Some.of(Some.defaults()) == Some()
    assert Some.of({"WEIGHT": 2.0, "GRID": {}}) == Some(weight=2.0)  # keys of the method that are no options
    with pytest.raises(FrozenInstanceError):
        Some().weight = 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "best"}, r"TRAINER.SOME.RULE is 'best'. Choose one of first, last\."),
        ({"rule": ""}, "TRAINER.SOME.RULE is ''"),
        ({"parts": ("a", "c")}, r"TRAINER.SOME.PARTS is \['a', 'c'\]. Choose from a, b\."),
        ({"parts": ["c"]}, "TRAINER.SOME.PARTS"),
    ],
)
def test_values_that_a_type_does_not_name_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Some(**values)
    assert Some(parts=()).parts == ()
