"""TDA: caches of confident and of doubtful test images, which are filled as test images arrive. It needs no shots.

    l = s f W^T,   p = softmax(l),   h = -sum_c p_c ln p_c,   e = h / log2 C,   c* = argmax l
    logits = l + alpha+ sum_{k in positive} exp(-beta+ (1 - f.k)) onehot(c*_k)
               - alpha- sum_{k in negative} exp(-beta- (1 - f.k)) m_k,      m_kc = 1 where low < p_kc < high

f is the unit feature of the test image that arrives, W the text classifier of the templates, and s the model's logit
scale. Each cache keeps, for each class, the few images of least entropy h among those with this pseudo-label c*.
Every image is offered to the positive cache, and one with low < e < high to the negative cache, before its own logits
are computed. So what the caches hold follows from the zero-shot logits alone. Nothing is learned, labels are never
used, and a prediction depends on the images that came before it. The order is a permutation by the run's seed.

The history of the caches is computed first, as the interval of time for which each image was in a cache. Then the
logits of many images are computed at once, with a mask of the images that were in the cache at each time. This is
exact.

Source: Karmanov et al., "Efficient Test-Time Adaptation of Vision-Language Models", CVPR 2024, arXiv:2403.18293, and
the authors' released code.
Differences from the authors' code: templates are those of the data set, as for all methods. Numbers are in
float32, where the authors' code has half precision. The order differs from that of the authors' loader. As in the
authors' code, e is in nats over bits, so that its maximum is ln 2. PRESET official has the authors' constants per data
set, and 64 views on ImageNet's variants: the test transform, and random crops under torchvision's AugMix instead of the
authors'. The authors do not say on what data they chose the constants, so PRESET repaired has those of ImageNet for all
data sets, and one view. Parity: tests/parity/test_tda.py.
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

CERTAIN = 0.1  # the share of the views that count
BLOCK_NUMBERS = 2**24  # the size of a temporary (images, kept images) tensor


class Cache(NamedTuple):
    """The options of a cache: images per class (capacity), weight (alpha) and sharpness (beta)."""

    capacity: int
    alpha: float
    beta: float


class History(NamedTuple):
    """The images that a cache holds at some time: their positions in the stream, and when they enter and leave."""

    place: Tensor
    gone: Tensor


def kept_images(offers: Iterable[tuple[int, int, float]], capacity: int) -> History:
    """The history of a cache that keeps the `capacity` images of least entropy of each class.

    Args:
        offers: (position in the stream, class, entropy), in order. In a full class, a new image replaces the one of the
            greatest entropy, if its own entropy is smaller.

    Returns:
        Two int64 tensors (M,): the position at which an image enters, and the one at which it has left.
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
    return History(torch.tensor(places, dtype=torch.int64), torch.tensor(gone, dtype=torch.int64))


class Seen(NamedTuple):
    """The facts of each image from its views: f (M, D), l and p (M, C), h (M,) in nats."""

    features: Tensor
    logits: Tensor
    probabilities: Tensor
    entropies: Tensor


def normalised_entropy(seen: Seen) -> Tensor:
    """e = h / log2 C, (M,)."""
    return seen.entropies / math.log2(max(2, seen.logits.shape[1]))


class TDAHead(Head):
    """Zero-shot logits; for a whole stream of images, with the evidence of images that came before.

    Args:
        text: unit text classifier, (C, D).
        logit_scale: s.
        positive, negative: the options of the caches.
        doubtful: the bounds of the normalised entropy of images that the negative cache may hold.
        possible: the bounds of the probability of classes against which such an image is evidence.
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
        """Zero-shot logits (B, C) of raw features (B, D) or (B, V, D), as before any image has arrived."""
        return self.logit_scale * F.normalize(features, dim=-1) @ self.text.T

    def seen(self, features: Tensor) -> Seen:
        """The facts of images with raw features (M, V, D), from the mean of the certain views of each image."""
        logits, f = self(features), F.normalize(features, dim=-1)
        h = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
        certain = h.argsort(dim=1, stable=True)[:, : max(1, int(CERTAIN * f.shape[1])), None]
        f, logits = (part.take_along_dim(certain, dim=1) for part in (f, logits))
        p, log_p = logits.softmax(-1).mean(1), logits.log_softmax(-1).logsumexp(1) - math.log(certain.shape[1])
        return Seen(f.mean(1), logits.mean(1), p, -(p * log_p).sum(-1))

    def transduce(self, features: Tensor) -> Tensor:
        """Logits (M, C) of raw features (M, D), or (M, V, D), that arrive in the order that the seed decides."""
        order = torch.randperm(len(features), generator=seeded_generator(self.seed, "test stream"))
        order = order.to(features.device)
        logits = self.stream(features[order])
        return torch.empty_like(logits).index_copy_(0, order, logits)

    def histories(self, seen: Seen) -> tuple[History, History]:
        """The histories of the positive and the negative cache for a stream."""
        labels, (low, high) = seen.logits.argmax(1), self.doubtful
        normalised = normalised_entropy(seen)
        offers = list(zip(range(len(labels)), labels.tolist(), seen.entropies.tolist(), strict=True))
        allowed = ((normalised > low) & (normalised < high)).tolist()
        doubtful = [offer for offer, may in zip(offers, allowed, strict=True) if may]
        return kept_images(offers, self.positive.capacity), kept_images(doubtful, self.negative.capacity)

    def stream(self, features: Tensor) -> Tensor:
        """Logits (M, C) of raw features (M, D), or (M, V, D), that arrive in this order."""
        seen = self.seen(features if features.dim() == 3 else features[:, None])
        f, logits, p, _ = seen
        labels = logits.argmax(1)
        kept = [History(*(part.to(f.device) for part in one)) for one in self.histories(seen)]
        step = max(1, BLOCK_NUMBERS // max(1, *(len(one.place) for one in kept)))
        times, result = torch.arange(len(f), device=f.device), logits.clone()
        for rows in times.split(step):
            items, weights = self._evidence(f, kept[0], rows, self.positive)
            result[rows] += class_sum(weights, labels[items], len(self.text), None)
            items, weights = self._evidence(f, kept[1], rows, self.negative)
            against = (p[items] > self.possible[0]) & (p[items] < self.possible[1])
            result[rows] -= weights @ against.to(weights.dtype)
        return result

    def _evidence(self, f: Tensor, kept: History, rows: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Positions (m,) of images in a cache, and their weights for the images that arrive at `rows`, (B, m)."""
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
    base_to_new = True  # its caches are filled by the set that is tested
    inference = "online"

    @classmethod
    def default_cfg(cls) -> CN:
        """Both caches, the bounds of entropy and probability of the negative one, and the views per test image."""
        positive = CN({"CAPACITY": 3, "ALPHA": 2.0, "BETA": 5.0})
        negative = CN({"CAPACITY": 2, "ALPHA": 0.117, "BETA": 1.0, "ENTROPY": [0.2, 0.5], "PROBABILITY": [0.03, 1.0]})
        return CN({"POSITIVE": positive, "NEGATIVE": negative, "TEST_VIEWS": 1})

    def build_head(self, task: FewShotTask, cfg: CN) -> TDAHead:
        """Give the head its tensors and numbers.

        Raises:
            ValueError: a CAPACITY or TEST_VIEWS is below 1.
        """
        caches = [Cache(node.CAPACITY, node.ALPHA, node.BETA) for node in (cfg.POSITIVE, cfg.NEGATIVE)]
        if min(cfg.TEST_VIEWS, *(cache.capacity for cache in caches)) < 1:
            raise ValueError("TRAINER.TDA.POSITIVE.CAPACITY, NEGATIVE.CAPACITY and TEST_VIEWS must be at least 1.")
        return TDAHead(
            text=task.text_features("template"),
            logit_scale=task.logit_scale,
            positive=caches[0],
            negative=caches[1],
            doubtful=tuple(cfg.NEGATIVE.ENTROPY),
            possible=tuple(cfg.NEGATIVE.PROBABILITY),
            seed=self.cfg.SEED,
        )
