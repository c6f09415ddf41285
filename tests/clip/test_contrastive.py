"""Files of sentences for the negative text: class by class, and pair by pair."""

from __future__ import annotations

import json

import pytest
import torch

from datasets.shapes.dataset import Shapes
from simnl.clip.contrastive import contrastive_prompts, read_contrastive
from simnl.clip.prompts import encode_prompt_sets
from simnl.clip.text import read_cupl
from simnl.locations import CONFIGS
from simnl.runs.config import assemble

NAMES = ("a_x", "b", "c")
PAIRS = {
    "a x": {"b": ["a not b", "a still not b"]},
    "b": {"a_x": ["b not a"], "c": ["b not c"]},
    "c": {"b": ["c not b"]},
}
TEXT = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=1)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(PAIRS))
    return file


def test_a_class_is_denied_by_what_its_neighbours_are(path):
    pairs = read_contrastive(path)
    one = contrastive_prompts(pairs, NAMES, TEXT, 1, path)
    assert one.prompts == ("b not a", "a not b", "a still not b", "b not c")
    assert one.classes == (0, 1, 1, 2)
    two = contrastive_prompts(pairs, NAMES, TEXT, 2, path)
    assert two.prompts == ("b not a", "a not b", "a still not b", "c not b", "b not c")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "must hold"),
        ('{"a": ["x"]}', "must hold"),
        ('{"a": {"b": "x"}}', "'a' against 'b' must be a list"),
        ('{"a": {"b": []}}', "'a' against 'b' must be a list"),
        ("{", r"PROMPTS\.CONTRASTIVE: "),
    ],
)
def test_broken_files_are_told(path, content, why):
    path.write_text(content)
    with pytest.raises(ValueError, match=why):
        read_contrastive(path)


def test_a_class_without_sentences_is_told(path):
    with pytest.raises(ValueError, match="no sentence of another class against 'd'"):
        contrastive_prompts(read_contrastive(path), ("a_x", "b", "d"), TEXT, 2, path)
    with pytest.raises(ValueError, match=r"CONTRASTIVE_CLASSES is 0"):
        contrastive_prompts(read_contrastive(path), NAMES, TEXT, 0, path)


class Store:
    """Texts that are told apart by their length."""

    def texts(self, prompts):
        return torch.tensor([[float(len(text)), 1.0] for text in prompts])


def negative_of(*options: str):
    cfg = assemble([CONFIGS / "datasets" / "shapes.yaml"], list(options))
    names = list(json.loads((Shapes.bundled_dir / "contrastive_shapes.json").read_text()))
    return encode_prompt_sets(cfg, Shapes, names, Store(), ("negative",), ())["negative"], names


def test_the_files_of_shapes_give_the_negative_text():
    plain, names = negative_of()
    assert len(plain.classes) == 3 * len(names)
    by_class, _ = negative_of("PROMPTS.NEGATIVE_SENTENCES", "negative_sentences_shapes.json")
    wanted = read_cupl(Shapes.bundled_dir / "negative_sentences_shapes.json", names)
    assert by_class.features[:, 0].tolist() == [len(text) for text in wanted.prompts]
    pairs, _ = negative_of("PROMPTS.CONTRASTIVE", "contrastive_shapes.json", "PROMPTS.CONTRASTIVE_CLASSES", "2")
    assert pairs.classes.tolist() == [c for c in range(len(names)) for _ in range(6)]


def test_files_that_are_not_there_or_both_are_told():
    with pytest.raises(FileNotFoundError, match=r"PROMPTS\.CONTRASTIVE: there is no file none\.json in"):
        negative_of("PROMPTS.CONTRASTIVE", "none.json")
    both = ("PROMPTS.CONTRASTIVE", "contrastive_shapes.json", "PROMPTS.NEGATIVE_SENTENCES", "x.json")
    with pytest.raises(ValueError, match="Leave one out"):
        negative_of(*both)
