"""The head is the method itself: a module that knows tensors and numbers only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from simnl.fewshot.cache import class_sum, shots_if_equal

Terms = Mapping[str, Any]  # tensors by name, or tuples of them


class Head(nn.Module):
    """Raw image features `(B, D)` to logits `(B, C)`.

    A head is given tensors and plain numbers: no config, no path, no loader. Derived tensors are non-persistent
    buffers, so that its state dict is exactly what it learned.

    A head whose cost is products of features with tensors that never move may offer them as `products`: those of stored
    views are then computed once and given to `losses` and `forward` from there on (`simnl.fewshot.loaders.Kept`).
    """

    num_products: int = 0  # numbers per image that `products` gives; 0: there are none

    def products(self, features: Tensor) -> Tensor:
        """What follows from raw image features (B, D) and from nothing that is learned, (B, num_products)."""
        raise NotImplementedError(f"{type(self).__name__} has num_products = 0.")

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the training loss, which is their sum.

        Args:
            features: raw image features, (B, D).
            labels: (B,) int64.
            given: `products=` of the features, where they are known.
        """
        return {"ce": F.cross_entropy(self(features, **given), labels)}

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Pairs of a factor on the learning rate and the parameters; by default one group with the factor 1."""
        return [(1.0, [p for p in self.parameters() if p.requires_grad])]

    def adopt(self, trained: Head) -> None:
        """Take over what a head for other classes has learned; by default all of it, as it depends on no class."""
        self.load_state_dict(trained.state_dict())

    def frozen_buffer(self, name: str, tensor: Tensor) -> None:
        """Register a derived tensor: it moves with the head, but is not part of its checkpoint."""
        self.register_buffer(name, tensor.detach().clone(), persistent=False)


class SearchableHead(Head):
    """A head whose hyper-parameters can be searched after training, on cached terms.

    The formula is split by cost, and exists once for training, selection, search and test:

        terms(features)            expensive, free of hyper-parameters
        stage(terms, **sharpness)  hyper-parameters inside a non-linearity (e.g. beta)
        affine(stage, **mixing)    -> (base, slope), logits = base + alpha * slope

    `hparams` holds the values in use. `STAGE` and `MIXING` name the hyper-parameters of the two later parts; `alpha`
    is always the factor of the slope.
    """

    STAGE: tuple[str, ...] = ("beta",)
    MIXING: tuple[str, ...] = ()
    LINEAR: str | None = None  # the mixing hyper-parameter in which base and slope are linear, if there is one
    search_width: int = 1024  # numbers per image in the widest tensor of `terms`; bounds the search's chunks

    def __init__(self, **hparams: float):
        super().__init__()
        expected = {*self.STAGE, *self.MIXING, "alpha"}
        if set(hparams) != expected:
            raise ValueError(f"{type(self).__name__}'s hyper-parameters are {sorted(expected)}, got {sorted(hparams)}.")
        self.hparams = dict(hparams)

    @classmethod
    def hparams_of(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """The initial hyper-parameters that a config node holds, by the names that the constructor has for them."""
        return {name: node[name.upper()] for name in (*cls.STAGE, *cls.MIXING, "alpha")}

    @abstractmethod
    def terms(self, features: Tensor, **given: Tensor) -> Terms:
        """What does not depend on hyper-parameters, with B as the first dimension. `given` is as for `losses`."""

    @abstractmethod
    def stage(self, terms: Terms, **sharpness: float) -> Mapping[str, Tensor]:
        """What depends on the hyper-parameters of `STAGE` only."""

    @abstractmethod
    def affine(self, stage: Mapping[str, Tensor], **mixing: float) -> tuple[Tensor, Tensor]:
        """(base, slope), both (B, C): logits = base + alpha * slope."""

    def combine(self, terms: Terms) -> Tensor:
        """Logits (B, C) at the hyper-parameters in use."""
        stage = self.stage(terms, **{name: self.hparams[name] for name in self.STAGE})
        base, slope = self.affine(stage, **{name: self.hparams[name] for name in self.MIXING})
        return base + self.hparams["alpha"] * slope

    def forward(self, features: Tensor, **given: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C). `given` is as for `losses`."""
        return self.combine(self.terms(features, **given))


class CacheHead(SearchableHead):
    """A text classifier beside a cache of support images: what such heads are given and hold.

    Args:
        text: unit text classifier, (C, D).
        cache_keys: unit rows, (N, D) or of another width.
        labels: (N,) int64, any order.
        logit_scale: s.
        learn_keys: True where the keys are a parameter.
        hparams: the initial hyper-parameters.
    """

    text: Tensor
    labels: Tensor
    cache_keys: Tensor

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
