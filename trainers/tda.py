"""TDA: caches of confident and of doubtful test images, filled as the test images arrive. It needs no shots.

    l = s f W^T,   p = softmax(l),   h = -sum_c p_c ln p_c,   e = h / log2 C,   c* = argmax l
    logits = l + alpha+ sum_{k in positive} exp(-beta+ (1 - f.k)) onehot(c*_k)
               - alpha- sum_{k in negative} exp(-beta- (1 - f.k)) m_k,      m_kc = 1 where low < p_kc < high

f is the unit feature of the test image that arrives, W the text classifier of the templates, and s the model's logit
scale. Each cache keeps for each class the few images with the least entropy h of those whose pseudo-label c* it was.
Every image is offered to the positive cache, and one with low < e < high to the negative cache, before its own logits
are computed. So what the caches hold follows from the zero-shot logits alone. Nothing is learned, labels are never
used, and a prediction depends on the images that came before it. The order is a permutation by the run's seed.

The caches' history is computed first, as an interval of time for each image that was ever kept. Then the logits of many
images are computed at once, from all images that were kept at any time, masked by who was there. This is exact.

Source: Karmanov et al., "Efficient Test-Time Adaptation of Vision-Language Models", CVPR 2024, arXiv:2403.18293, and
the authors' released code.
Differences from the authors' code: each image has one centre crop, also on ImageNet's variants, where theirs takes 64
views. Templates are those of the data set, as for all methods. Precision is single, and theirs is half. The order is
not that of their loader. As in theirs, e is in nats over bits, so that its maximum is ln 2. PRESET official has the
authors' constants per data set. They do not say on what data these were chosen, so PRESET repaired has those of
ImageNet for all data sets.
Parity: tests/parity/test_tda.py.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache import class_sum
from simnl.fewshot.head import Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

BLOCK_NUMBERS = 2**24  # the size of a temporary (images, kept images) tensor


class Cache(NamedTuple):
    """capacity: images per class; alpha: weight; beta: sharpness."""

    capacity: int
    alpha: float
    beta: float


class Kept(NamedTuple):
    """Images that a cache holds at some time: their places in the stream, when they come and when they are gone."""

    place: Tensor
    gone: Tensor


def kept_images(offers: Iterable[tuple[int, int, float]], capacity: int) -> Kept:
    """The history of a cache that keeps the `capacity` images of least entropy of each class.

    Args:
        offers: (place in the stream, class, entropy) in order; a full class takes an image only for one of greater
            entropy, the greatest.

    Returns:
        Two int64 tensors (M,): an image is there from its place on, and until before the place at which it is gone.
    """
    classes: dict[int, list[tuple[float, int]]] = {}
    places: list[int] = []
    gone: list[int] = []
    for place, label, entropy in offers:
        queue = classes.setdefault(label, [])
        if len(queue) >= capacity:
            if not entropy < queue[-1][0]:
                continue
            gone[queue.pop()[1]] = place
        insort(queue, (entropy, len(places)), key=lambda item: item[0])
        places.append(place)
        gone.append(torch.iinfo(torch.int64).max)
    return Kept(torch.tensor(places, dtype=torch.int64), torch.tensor(gone, dtype=torch.int64))


class TDAHead(Head):
    """Zero-shot logits; of a whole stream of images, with what its images add to each other.

    Args:
        text: unit text classifier, (C, D).
        logit_scale: s.
        positive, negative: the caches.
        doubtful: low and high of the normalised entropy of an image that the negative cache may keep.
        possible: low and high of the probability of a class that such an image speaks against.
        seed: the seed of the stream's order.
    """

    text: Tensor

    def __init__(
        self,
        *,
        text: Tensor,
        logit_scale: float,
        positive: Cache,
        negative: Cache,
        doubtful: tuple[float, float],
        possible: tuple[float, float],
        seed: int,
    ):
        super().__init__()
        self.logit_scale, self.positive, self.negative = logit_scale, positive, negative
        self.doubtful, self.possible, self.seed = doubtful, possible, seed
        self.frozen_buffer("text", text)

    def forward(self, features: Tensor) -> Tensor:
        """Zero-shot logits (B, C) of raw features (B, D): those before any image has arrived."""
        return self.logit_scale * F.normalize(features, dim=-1) @ self.text.T

    def transduce(self, features: Tensor) -> Tensor:
        """Logits (M, C) of raw features (M, D) that arrive in an order which the seed decides."""
        order = torch.randperm(len(features), generator=seeded_generator(self.seed, "test stream"))
        order = order.to(features.device)
        logits = self.stream(features[order])
        return torch.empty_like(logits).index_copy_(0, order, logits)

    def entropies(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """h (M,), in nats, and e = h / log2 C, of logits (M, C)."""
        h = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
        return h, h / math.log2(max(2, logits.shape[1]))

    def histories(self, logits: Tensor) -> tuple[Kept, Kept]:
        """What the positive and the negative cache keep of a stream with these zero-shot logits (M, C)."""
        h, normalised = self.entropies(logits)
        low, high = self.doubtful
        offers = list(zip(range(len(logits)), logits.argmax(1).tolist(), h.tolist(), strict=True))
        allowed = ((normalised > low) & (normalised < high)).tolist()
        doubtful = [offer for offer, may in zip(offers, allowed, strict=True) if may]
        return kept_images(offers, self.positive.capacity), kept_images(doubtful, self.negative.capacity)

    def stream(self, features: Tensor) -> Tensor:
        """Logits (M, C) of raw features (M, D) that arrive in this order."""
        logits, f = self(features), F.normalize(features, dim=-1)
        labels, p = logits.argmax(1), logits.softmax(1)
        kept = [Kept(*(part.to(f.device) for part in one)) for one in self.histories(logits)]
        step = max(1, BLOCK_NUMBERS // max(1, *(len(one.place) for one in kept)))
        times, result = torch.arange(len(f), device=f.device), logits.clone()
        for rows in times.split(step):
            items, weights = self._evidence(f, kept[0], rows, self.positive)
            result[rows] += class_sum(weights, labels[items], len(self.text), None)
            items, weights = self._evidence(f, kept[1], rows, self.negative)
            against = (p[items] > self.possible[0]) & (p[items] < self.possible[1])
            result[rows] -= weights @ against.to(weights.dtype)
        return result

    def _evidence(self, f: Tensor, kept: Kept, rows: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Places (m,) of kept images, and their weights for the images that arrive at `rows`, (B, m)."""
        there = (kept.place <= rows[:, None]) & (rows[:, None] < kept.gone)
        return kept.place, cache.alpha * torch.exp(-cache.beta * (1 - f[rows] @ f[kept.place].T)) * there


@TRAINER_REGISTRY.register()
class TDA(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·t_c + α₁ Σ_k exp(-β₁ (1 - f·k)) onehot(k) - α₂ Σ_k exp(-β₂ (1 - f·k)) m_k, k
            test images that came before
        learned: nothing; caches of test images
        parameters: 0
        checked: authors' code; formula
    """

    uses_support = False
    training_free = True
    inference = "online"

    @classmethod
    def default_cfg(cls) -> CN:
        """Both caches; the ranges of entropy and of probability are those of the negative one."""
        positive = CN({"CAPACITY": 3, "ALPHA": 2.0, "BETA": 5.0})
        negative = CN({"CAPACITY": 2, "ALPHA": 0.117, "BETA": 1.0, "ENTROPY": [0.2, 0.5], "PROBABILITY": [0.03, 1.0]})
        return CN({"POSITIVE": positive, "NEGATIVE": negative})

    def build_head(self, task: FewShotTask, cfg: CN) -> TDAHead:
        """Hand the head its tensors and numbers.

        Raises:
            ValueError: a CAPACITY below 1.
        """
        caches = [Cache(node.CAPACITY, node.ALPHA, node.BETA) for node in (cfg.POSITIVE, cfg.NEGATIVE)]
        if min(cache.capacity for cache in caches) < 1:
            raise ValueError("TRAINER.TDA.POSITIVE.CAPACITY and NEGATIVE.CAPACITY must be at least 1.")
        return TDAHead(
            text=task.text_features("template"),
            logit_scale=task.logit_scale,
            positive=caches[0],
            negative=caches[1],
            doubtful=tuple(cfg.NEGATIVE.ENTROPY),
            possible=tuple(cfg.NEGATIVE.PROBABILITY),
            seed=self.cfg.SEED,
        )
