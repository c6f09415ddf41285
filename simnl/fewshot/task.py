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
    """The support set of one run as features, with the text side of the model.

    Attributes:
        support_features: V seeded views of the N support images, raw, (V, N, D) float32; rows sorted by class.
        support_labels: (N,) int64, what a method learns from.
        support_classes: (N,) int64, sorted; equal to the labels unless the authors' treatment of noisy labels is
            asked for, in which rows stay grouped by the true class (methods see wrong labels in true blocks).
        prompts: raw prompt features by name: `template` and `negative` always, `cupl` where there is a file.
        classnames: C names; index = label.
        num_shots: K as asked for; a class with fewer images has fewer rows.
        logit_scale: the model's learned scale, exp'd (100 in OpenAI's checkpoints).
        clip: the frozen model, for methods that learn prompts or change a tower.
        device: the device of a head's tensors.
        templates: the prompts `template`, with `{}` for the name, for methods that run the text tower on them.
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
        """The task of a support set and of prompts; labels are moved to the device."""
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
            averaging: a rule of `simnl.clip.text.AVERAGING`; unit rows unless it is `mean`.
        """
        features = torch.cat([self.prompts[name].features for name in names])
        classes = torch.cat([self.prompts[name].classes for name in names])
        return class_weights(features, classes, self.num_classes, averaging).to(self.device)

    def text_rows(self, *names: str) -> Tensor:
        """Unit features of single prompts, (C, P, D) on `device`: those of the named sets in this order, cut to the
        number that every class has (P)."""
        features = torch.cat([self.prompts[name].features for name in names])
        classes = torch.cat([self.prompts[name].classes for name in names])
        groups = [features[classes == label] for label in range(self.num_classes)]
        shortest = min(map(len, groups))
        return F.normalize(torch.stack([group[:shortest] for group in groups]), dim=-1).to(self.device)

    def cache_keys(self) -> Tensor:
        """Unit mean over the views of each support image, (N, D) on `device`: the keys of a cache (Tip-Adapter)."""
        return F.normalize(self.support_features.mean(dim=0), dim=-1).to(self.device)

    def view_rows(self) -> tuple[Tensor, Tensor]:
        """Unit features of all views of all support images, (V * N, D), and their labels, (V * N,), on `device`."""
        views = self.support_features.to(self.device)
        return F.normalize(views, dim=-1).flatten(0, 1), self.support_labels.repeat(len(views))

    def support_inputs(self) -> dict[str, Any]:
        """What heads with a cache are given of the support images: keys, labels, and the logit scale."""
        return {"cache_keys": self.cache_keys(), "labels": self.support_labels, "logit_scale": self.logit_scale}

    def cache_inputs(self, *names: str) -> dict[str, Any]:
        """What a `CacheHead` is given: the text classifier of the prompt sets in one pool, and `support_inputs`."""
        return {"text": self.text_features(*names), **self.support_inputs()}
