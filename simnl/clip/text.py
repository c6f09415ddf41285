"""Text classifiers from prompts: templates, negative templates and CuPL sentences.

There are three ways to turn the prompts of a class into one weight vector. They give different classifiers, so each has
a name (`AVERAGING`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from simnl.sealed import DamagedError, read_json

log = logging.getLogger(__name__)

AVERAGING = {
    "normalize-mean-normalize": "unit prompts, mean, unit length: Tip-Adapter, APE, SimNL, CuPL, LP++",
    "mean-normalize": "mean of raw prompts, unit length: cross-modal adaptation",
    "mean": "mean of raw prompts, raw length: TaskRes, CLAP, GraphAdapter",
}


@dataclass(frozen=True)
class PromptSet:
    """The prompts of all classes in one list.

    `prompts` has P sentences, grouped by class. `classes` has the class index of each sentence, length P.
    """

    prompts: tuple[str, ...]
    classes: tuple[int, ...]

    @classmethod
    def from_templates(cls, templates: Sequence[str], classnames: Sequence[str]) -> PromptSet:
        """Fill each template with each class name (underscores read as spaces)."""
        if not templates:
            raise ValueError("There is no prompt template. Set PROMPTS.POSITIVE and NEGATIVE in the data set's yaml.")
        bad = [t for t in templates if t.count("{}") != 1]
        if bad:
            raise ValueError(f"A prompt template must hold the placeholder {{}} exactly once, unlike {bad[0]!r}.")
        return cls.from_sentences([[t.format(readable(name)) for t in templates] for name in classnames])

    @classmethod
    def from_sentences(cls, sentences: Sequence[Sequence[str]]) -> PromptSet:
        """One list of sentences per class, in class order."""
        prompts = tuple(s for group in sentences for s in group)
        classes = tuple(c for c, group in enumerate(sentences) for _ in group)
        return cls(prompts, classes)

    def __add__(self, other: PromptSet) -> PromptSet:
        """One pool of both sets (APE's classifier; CuPL's 'both')."""
        return PromptSet(self.prompts + other.prompts, self.classes + other.classes)


@dataclass(frozen=True)
class PromptFeatures:
    """Raw text features of a set of prompts, (P, D), and the class of each, (P,) int64."""

    features: Tensor
    classes: Tensor


def text_ends(tokens: Tensor) -> Tensor:
    """The position (P,) at which each prompt (P, L) ends; the end of text has the highest token id."""
    return tokens.argmax(1)


def readable(classname: str) -> str:
    """The class name as prompts spell it: underscores become spaces."""
    return classname.replace("_", " ")


def read_cupl(path: Path, classnames: Sequence[str], key: str = "CUPL") -> PromptSet:
    """Read a CuPL file: json, class name (with spaces) -> list of sentences. Source: Pratt et al., ICCV 2023.

    `key` is the key of PROMPTS that named the file.

    Raises:
        ValueError: the file is not json, holds something else than lists of sentences, or lacks sentences for a class.
            The message names the file and the classes.
    """
    try:
        table = read_json(path, "Fetch it again.")
    except DamagedError as error:
        raise ValueError(f"The CuPL file {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"The CuPL file {path} must map class names to sentences, but is a {type(table).__name__}.")
    odd = [name for name, sentences in table.items() if not _is_sentences(sentences)]
    if odd:
        raise ValueError(f"The CuPL file {path} must map {odd[0]!r} to a list of sentences.")
    by_name = {readable(name): sentences for name, sentences in table.items()}
    missing = [name for name in map(readable, classnames) if not by_name.get(name)]
    if missing:
        raise ValueError(
            f"The CuPL file {path} has no sentence for {len(missing)} of {len(classnames)} classes: {missing[:3]}. "
            f"Use the file of this data set, or set PROMPTS.{key} to '' to run with templates alone."
        )
    _tell_equal_sentences(path, {name: by_name[name] for name in map(readable, classnames)})
    return PromptSet.from_sentences([by_name[readable(name)] for name in classnames])


def _tell_equal_sentences(path: Path, by_name: dict[str, list[str]]) -> None:
    """Warn of classes that the file describes with the same sentences."""
    groups: dict[frozenset[str], list[str]] = {}
    for name, sentences in by_name.items():
        groups.setdefault(frozenset(" ".join(text.lower().split()) for text in sentences), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    if alike:
        log.warning("%s has the same sentences for several classes: %s.", path, named_in_pairs(alike))


def named_in_pairs(groups: Sequence[Sequence[str]], shown: int = 6) -> str:
    """The first few groups in words: `'a' = 'b'; 'c' = 'd'`."""
    more = f"; ... ({len(groups)} in all)" if len(groups) > shown else ""
    return "; ".join(" = ".join(map(repr, group)) for group in groups[:shown]) + more


def _is_sentences(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)


def class_weights(prompt_features: Tensor, classes: Tensor, num_classes: int, averaging: str) -> Tensor:
    """Average the prompts of each class into a classifier.

    Args:
        prompt_features: raw text features of the prompts, (P, D).
        classes: class index of each prompt, (P,) int64.
        num_classes: C; every class has at least one prompt.
        averaging: a key of `AVERAGING`.

    Returns:
        (C, D), with unit rows unless the averaging is `mean`.
    """
    if averaging not in AVERAGING:
        raise ValueError(f"Unknown averaging rule '{averaging}'. Choose one of {sorted(AVERAGING)}.")
    if averaging == "normalize-mean-normalize":
        prompt_features = F.normalize(prompt_features, dim=-1)
    totals = prompt_features.new_zeros(num_classes, prompt_features.shape[1]).index_add_(0, classes, prompt_features)
    ones = totals.new_ones(len(classes))  # a sum counts them, because bincount would make the CPU wait for a GPU
    counts = totals.new_zeros(num_classes).index_add_(0, classes, ones)
    weights = totals / counts.unsqueeze(1)
    return weights if averaging == "mean" else F.normalize(weights, dim=-1)
