"""What scores of unknown classes are made of: constants, features of images chunk by chunk, and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptSet, class_weights
from simnl.clip.views import ViewSpec
from simnl.locations import CONFIGS
from simnl.metrics.scores import Floats
from simnl.runs.yaml_files import read_yaml

Stream = Callable[[Sequence[Any]], Iterator[torch.Tensor]]  # items, which have an `impath`, to raw features (n, D)


def constants(name: str) -> dict[str, Any]:
    """The constants of a score, a node of configs/scores.yaml."""
    content: Any = read_yaml(CONFIGS / "scores.yaml")
    return content[name]


def image_stream(store: FeatureStore) -> Stream:
    """A function that gives the features of items under the test transform, chunk by chunk."""
    view = ViewSpec.test(store.clip.preprocess)
    return lambda items: (chunk[0] for chunk in store.stream([item.impath for item in items], view))


def unit_images(rows: Stream, items: Sequence[Any]) -> Floats:
    """Unit features of images, (N, D)."""
    return np.concatenate([F.normalize(chunk, dim=-1).double().numpy() for chunk in rows(items)])


def unit_texts(store: FeatureStore, templates: Sequence[str], words: Sequence[str], averaging: str) -> Floats:
    """Unit text features of words, (W, D): the average over templates by a rule of `simnl.clip.text.AVERAGING`."""
    prompts = PromptSet.from_sentences([[template.format(word) for template in templates] for word in words])
    features = store.texts(prompts.prompts)
    return class_weights(features, torch.tensor(prompts.classes), len(words), averaging).double().numpy()
