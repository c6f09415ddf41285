"""The few-shot task is all that a method may look at. It holds no test data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.clip.model import FrozenCLIP
from simnl.clip.text import PromptFeatures, class_weights
from simnl.fewshot.support import SupportSet


@dataclass(frozen=True)
class FewShotTask:
    """The support set of one run as features, with the text features of the model.

    Attributes:
        support_features: raw features of V seeded views of the N support images, (V, N, D) float32; rows sorted by
        class.
        support_labels: (N,) int64, the labels to learn from.
        support_classes: (N,) int64, sorted. They equal the labels, unless noisy labels are treated as in the authors'
            code, where rows stay grouped by their true class.
        prompts: raw prompt features by name: always `template` and `negative`, and `cupl` if there is a file.
        classnames: the C class names, in the order of the labels.
        num_shots: K, as the config asks for it; a class with fewer images has fewer rows.
        logit_scale: the exponential of the model's learned scale (100 in OpenAI's checkpoints).
        clip: the frozen model, for methods that learn prompts or change a tower.
        device: the device of a head's tensors.
        templates: the templates of the set `template`, with `{}` for the name, for methods that run the text tower on
            them.
    """

    support_features: Tensor
    support_labels: Tensor
    support_classes: Tensor
    prompts: Mapping[str, PromptFeatures]
    classnames: tuple[str, ...]
    num_shots: int
    logit_scale: float
    clip: FrozenCLIP
    device: torch.device
    templates: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        support: SupportSet,
        prompts: Mapping[str, PromptFeatures],
        classnames: tuple[str, ...],
        num_shots: int,
        clip: FrozenCLIP,
        device: torch.device,
        templates: Iterable[str] = (),
    ) -> FewShotTask:
        """The task with a support set and prompts. Labels are moved to the device."""
        return cls(
            support_features=support.features,
            support_labels=support.labels.to(device),
            support_classes=support.classes.to(device),
            prompts=prompts,
            classnames=classnames,
            num_shots=num_shots,
            logit_scale=clip.logit_scale,
            clip=clip,
            device=device,
            templates=tuple(templates),
        )

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classnames)

    def text_features(self, *names: str, averaging: str = "normalize-mean-normalize") -> Tensor:
        """The text classifier of a set of prompts, (C, D) on `device`; several names are pooled into one list.

        Args:
            names: keys of `prompts`.
            averaging: a rule of `simnl.clip.text.AVERAGING`. The result has unit rows unless the rule is `mean`.
        """
        features = torch.cat([self.prompts[name].features for name in names])
        classes = torch.cat([self.prompts[name].classes for name in names])
        return class_weights(features, classes, self.num_classes, averaging).to(self.device)

    def text_rows(self, *names: str) -> Tensor:
        """Unit features of single prompts of the named sets, (C, P, D) on `device`; every class has P."""
        features = torch.cat([self.prompts[name].features for name in names])
        classes = torch.cat([self.prompts[name].classes for name in names])
        groups = [features[classes == label] for label in range(self.num_classes)]
        shortest = min(map(len, groups))
        return F.normalize(torch.stack([group[:shortest] for group in groups]), dim=-1).to(self.device)

    def cache_keys(self) -> Tensor:
        """The keys of a cache (Tip-Adapter): the unit mean over the views of each support image, (N, D) on `device`."""
        return F.normalize(self.support_features.mean(dim=0), dim=-1).to(self.device)

    def view_rows(self) -> tuple[Tensor, Tensor]:
        """Unit features of all views of all support images, (V * N, D), and their labels, (V * N,), on `device`."""
        views = self.support_features.to(self.device)
        return F.normalize(views, dim=-1).flatten(0, 1), self.support_labels.repeat(len(views))

    def support_inputs(self) -> dict[str, Any]:
        """The arguments of heads with a cache: keys and labels of the support images, and the logit scale."""
        return {"cache_keys": self.cache_keys(), "labels": self.support_labels, "logit_scale": self.logit_scale}

    def cache_inputs(self, *names: str) -> dict[str, Any]:
        """The arguments of a `CacheHead`: the text classifier of the pooled prompt sets, and `support_inputs`."""
        return {"text": self.text_features(*names), **self.support_inputs()}
