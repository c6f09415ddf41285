"""The base of heads with a cache of support images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simnl.fewshot.cache import class_sum, shots_if_equal
from simnl.fewshot.head import SearchableHead


class CacheHead(SearchableHead):
    """The base of heads that have a text classifier and a cache of support images.

    The `terms` of a subclass have the affinity of images to the rows of the cache, (B, N), as `affinity`.

    Args:
        text: unit text classifier, (C, D).
        cache_keys: unit rows, (N, D), or of another width.
        labels: (N,) int64, any order.
        logit_scale: s.
        learn_keys: True if the keys are a parameter.
        hparams: the initial hyper-parameters.
    """

    text: Tensor
    labels: Tensor
    cache_keys: Tensor
    support_terms: tuple[str, ...] = ("cache",)

    def __init__(
        self,
        *,
        text: Tensor,
        cache_keys: Tensor,
        labels: Tensor,
        logit_scale: float,
        learn_keys: bool = False,
        **hparams: float,
    ):
        super().__init__(**hparams)
        self.logit_scale, self.num_classes, self.search_width = logit_scale, len(text), len(cache_keys)
        self.shots = shots_if_equal(labels, self.num_classes)
        self.frozen_buffer("text", text)
        self.frozen_buffer("labels", labels)
        if learn_keys:
            self.cache_keys = nn.Parameter(cache_keys.detach().clone())
        else:
            self.frozen_buffer("cache_keys", cache_keys)

    def class_sum(self, weights: Tensor) -> Tensor:
        """Add up the evidence of rows (B, N) for each label, (B, C)."""
        return class_sum(weights, self.labels, self.num_classes, self.shots)

    def weights(self, affinity: Tensor, beta: float) -> Tensor:
        """The weight of each row for its label, (B, N), from an image's affinity a to the row: exp(-beta (1 - a))."""
        return torch.exp(-beta * (1 - affinity))

    def row_weights(self, features: Tensor) -> Tensor:
        """The weight of each row of the cache for its label, before alpha, (B, N), at the hyper-parameters in use."""
        return self.weights(self.terms(features)["affinity"], self.hparams["beta"])

    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """What each support image adds to one logit: alpha times the weights of the rows whose label is the class."""
        weights = self.hparams["alpha"] * self.row_weights(features)
        return weights * (self.labels == classes[:, None])
