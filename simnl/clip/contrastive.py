"""Sentences that tell classes apart, as a set of negative prompts.

A file holds {class: {other class: [sentences that tell the class from the other]}}. The negative text of a class c
consists of the sentences that tell the classes near c from c, because these describe what c is easily confused with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from simnl.clip.text import PromptSet, readable
from simnl.sealed import DamagedError, read_json

Pairs = Mapping[tuple[str, str], Sequence[str]]  # (class, other class) -> sentences, names as prompts spell them


def read_contrastive(path: Path) -> Pairs:
    """Read a file of contrastive sentences.

    Raises:
        ValueError: the file is not json, or holds something else than lists of sentences in objects of objects. The
            message names the file and the place.
    """
    try:
        table = read_json(path, "Write it again.")
    except DamagedError as error:
        raise ValueError(f"PROMPTS.CONTRASTIVE: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(others, dict) for others in table.values()):
        raise ValueError(f"PROMPTS.CONTRASTIVE: {path} must hold {{class: {{other class: [sentences]}}}}.")
    pairs = {(readable(a), readable(b)): texts for a, others in table.items() for b, texts in others.items()}
    for (a, b), texts in pairs.items():
        if not (isinstance(texts, list) and texts and all(isinstance(t, str) and t.strip() for t in texts)):
            raise ValueError(f"PROMPTS.CONTRASTIVE: in {path}, '{a}' against '{b}' must be a list of sentences.")
    return pairs


def contrastive_prompts(pairs: Pairs, classnames: Sequence[str], text: Tensor, count: int, path: Path) -> PromptSet:
    """For each class, the sentences that tell its nearest classes from it.

    Args:
        pairs: the result of `read_contrastive`.
        classnames: the C class names.
        text: unit text features, (C, D), whose cosines say which classes are near.
        count: the number of nearest classes, among those with sentences about the class.
        path: the path of the file, for messages.

    Raises:
        ValueError: for some class there is no sentence of another class, or the count is below 1.
    """
    if count < 1:
        raise ValueError(f"PROMPTS.CONTRASTIVE_CLASSES is {count}, but it must be 1 or more.")
    names = [readable(name) for name in classnames]
    order = (text @ text.T).fill_diagonal_(-torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1].tolist()
    sentences = []
    for name, near in zip(names, order, strict=True):
        speaking = [names[other] for other in near if (names[other], name) in pairs][:count]
        if not speaking:
            raise ValueError(
                f"PROMPTS.CONTRASTIVE: {path} has no sentence of another class against '{name}'. Add some under the "
                f"classes that are easily taken for it, for example '{names[near[0]]}'."
            )
        sentences.append([text for other in speaking for text in pairs[other, name]])
    return PromptSet.from_sentences(sentences)
