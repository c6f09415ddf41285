"""Prompts and text classifiers."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simnl.clip.text import AVERAGING, PromptSet, class_weights, read_cupl, readable

FEATURES = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0], [5.0, 0.0]], dtype=torch.float64)
CLASSES = torch.tensor([1, 1, 0, 1])


def naive(averaging: str) -> list[list[float]]:
    rows = []
    for c in (0, 1):
        mine = [FEATURES[i] for i in range(4) if CLASSES[i] == c]
        if averaging == "normalize-mean-normalize":
            mine = [v / v.norm() for v in mine]
        mean = sum(mine) / len(mine)
        rows.append((mean if averaging == "mean" else mean / mean.norm()).tolist())
    return rows


@pytest.mark.parametrize("averaging", AVERAGING)
def test_the_three_averaging_rules(averaging):
    weights = class_weights(FEATURES, CLASSES, 2, averaging)
    for got, wanted in zip(weights.tolist(), naive(averaging), strict=True):
        assert got == pytest.approx(wanted)


def test_the_rules_differ():
    results = [class_weights(FEATURES, CLASSES, 2, rule)[1] for rule in AVERAGING]
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="mean-normalize"):
        class_weights(FEATURES, CLASSES, 2, "median")


def test_templates_are_filled_class_by_class_with_readable_names():
    prompts = PromptSet.from_templates(["a {}.", "no {}!"], ["polka_dot", "x"])
    assert prompts.prompts == ("a polka dot.", "no polka dot!", "a x.", "no x!")
    assert prompts.classes == (0, 0, 1, 1)
    assert (prompts + PromptSet(("y",), (1,))).classes == (0, 0, 1, 1, 1)


@pytest.mark.parametrize("template", ["no placeholder", "{} and {}"])
def test_a_template_without_its_placeholder_is_refused(template):
    with pytest.raises(ValueError, match="placeholder"):
        PromptSet.from_templates([template], ["a"])


def test_no_template_is_refused():
    with pytest.raises(ValueError, match=r"PROMPTS\.POSITIVE"):
        PromptSet.from_templates([], ["a"])


@given(st.lists(st.text(alphabet="ab_{}", min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_class_name_fits_into_a_template(names):
    assert PromptSet.from_templates(["x {} y"], names).prompts == tuple(f"x {readable(n)} y" for n in names)


def test_cupl_is_read_in_class_order(tmp_path):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"b c": ["one", "two"], "a": ["three"]}))
    assert read_cupl(path, ["a", "b_c"]) == PromptSet(("three", "one", "two"), (0, 1, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid json"),
        (b"[1]", "map class names"),
        (b'{"a": []}', "no sentence"),
        (b"\xff\xfe", "not valid json"),
    ],
)
def test_a_bad_cupl_file_is_named(tmp_path, content, message):
    path = tmp_path / "cupl.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_cupl(path, ["a"])
    assert str(path) in str(error.value)
