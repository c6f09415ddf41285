"""Sentences that tell a class from another one, as a prompt set: what an image of a class is not.

A file holds {class: {other class: [sentences that tell the class from the other]}}. The negative text of a class is
made of the sentences of the classes near it, against it: they describe what it is easily taken for.
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
        ValueError: not json, or something else than lists of sentences in objects of objects; the message names the
            file and the place.
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
    """For each class the sentences of its nearest classes against it.

    Args:
        pairs: of `read_contrastive`.
        classnames: C names.
        text: unit text features, (C, D), whose cosines say which classes are near.
        count: of how many of the nearest that have sentences against the class.
        path: of the file, for messages.

    Raises:
        ValueError: no other class has a sentence against some class, or a count below 1.
    """
    if count < 1:
        raise ValueError(f"PROMPTS.CONTRASTIVE_CLASSES is {count}: it must be 1 or more.")
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
