"""Adapters: each has frozen rows and one learned residual per class, (C, D), which moves these rows.

The residuals are zero at the start. They may be in half precision; everything is computed in the type of the frozen
rows.

    MovedText           t_c = norm(T_c + r_c)
    TextMixture         m_c = (1 - w) t_c + w u_c
    NegativeText        v_c, a text classifier of "not c":  Q_c = scale (1 - f.v_c)
    MovedKeys           k_n = norm(F_n + r_c):              P_c = sum_n w_n exp(-beta (1 - f.k_n))
    ClassNegativeKeys   q_c, one key per class:             N_c = w_c exp(-beta f.q_c)
    SlotNegativeKeys    q_n, one key per support row:       N_c = sum_n w_n exp(-beta f.q_n)

Here f stands for unit image features, (B, D), and the sums are over the rows n of class c.

Source: Zhang et al., WACV 2025, arXiv:2403.12964 (trainers/simnl.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simnl.clip.recipe import Rebuildable
from simnl.fewshot.cache import (
    Groups,
    cache_logits,
    class_negative_keys,
    instance_weights,
    inverse_norms,
    key_overlaps,
    slot_negative_keys,
    slot_products,
    slot_sums,
)

AXES = {"channel": 0, "class": 1}  # of a text classifier (C, D)
CacheTerms = tuple[Tensor, Tensor, Tensor]  # the result of `cache_terms` for one cache


class MovedText(Rebuildable, nn.Module):
    """A text classifier that a residual moves. Only `residual` (C, D) is learned.

    Args:
        text: unit rows, (C, D).
        dtype: the type of the residual.
    """

    text: Tensor

    def __init__(self, text: Tensor, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.register_buffer("text", text.detach(), persistent=False)
        self.residual = nn.Parameter(torch.zeros_like(text, dtype=dtype))

    def forward(self) -> Tensor:
        """The classifier, unit rows (C, D)."""
        return F.normalize(self.text + self.residual.to(self.text.dtype), dim=-1)


class TextMixture(nn.Module):
    """Two moved text classifiers in one: (1 - w) template + w cupl.

    Args:
        template: unit rows, (C, D).
        cupl: unit rows of the CuPL sentences, (C, D); None for the templates alone.
        weight: w, the share of cupl.
        axis: along which `anchors` have unit length, a value of `AXES`.
        dtype: the type of the residuals.

    Attributes:
        anchors: the mixture of the frozen classifiers, each brought to unit length along the axis first, (C, D).
    """

    anchors: Tensor

    def __init__(
        self, template: Tensor, cupl: Tensor | None, weight: float, axis: int = 1, dtype: torch.dtype = torch.float32
    ):
        super().__init__()
        self.weight = weight if cupl is not None else 0.0
        self.template = MovedText(template, dtype)
        self.cupl = MovedText(cupl, dtype) if cupl is not None and weight else None
        self.axis = axis
        anchors = F.normalize(template, dim=axis, eps=1e-7)
        if self.cupl is not None:
            anchors = self._mixed(anchors, F.normalize(self.cupl.text, dim=axis, eps=1e-7))
        self.register_buffer("anchors", anchors.detach(), persistent=False)

    def forward(self) -> Tensor:
        """The mixture, (C, D); its rows are shorter than 1."""
        return self.template() if self.cupl is None else self._mixed(self.template(), self.cupl())

    def _mixed(self, template: Tensor, cupl: Tensor) -> Tensor:
        return (1 - self.weight) * template + self.weight * cupl


class NegativeText(MovedText):
    """A moved classifier of the negative templates: the less an image looks like "not c", the more likely is c.

    Args:
        text: unit rows, (C, D).
        scale: the factor of the logits.
        dtype: the type of the residual.
    """

    def __init__(self, text: Tensor, scale: float, dtype: torch.dtype = torch.float32):
        super().__init__(text, dtype)
        self.scale = scale

    def logits(self, f: Tensor) -> Tensor:
        """scale (1 - f.v), (B, C)."""
        return self.scale * (1 - f @ self().T)


class SupportRows(Rebuildable, nn.Module):
    """Frozen cache keys with the classes of their rows. Several caches may share them. Nothing is learned.

    Args:
        keys: unit rows, (N, D).
        classes: (N,) int64, sorted: the class whose residual moves a row.
        labels: (N,) int64: the class that a row's evidence counts for. They differ from `classes` only if wrong labels
            are treated as in the authors' code.
        num_classes: C.
    """

    keys: Tensor

    def __init__(self, keys: Tensor, classes: Tensor, labels: Tensor, num_classes: int):
        super().__init__()
        self.register_buffer("keys", keys.detach(), persistent=False)
        self.movers, self.speakers = Groups.of(classes, num_classes), Groups.of(labels, num_classes)

    def weights(self, tau: float, shots: int | None = None) -> Tensor:
        """How typical each row is of its label, (N,): `instance_weights`."""
        return instance_weights(self.keys, self.speakers.classes, self.speakers.count, tau, shots)


class MovedKeys(Rebuildable, nn.Module):
    """The cache P, whose keys are moved by the residual of their class. Only `residual` (C, D) is learned.

    Its evidence is computed in three steps. `cache_products` has the products with image features, which depend on
    nothing learned. `cache_terms` has what does not depend on beta. `logits` is the rest, which is cheap.

    Args:
        rows: the keys and their classes.
        weights: the weight w >= 0 of each row, (N,).
        dtype: the type of the residual.
        against: True for keys of "not c", whose evidence is sum_n w_n exp(-beta f.k_n).
    """

    weights: Tensor

    def __init__(self, rows: SupportRows, weights: Tensor, dtype: torch.dtype = torch.float32, against: bool = False):
        super().__init__()
        self.rows, self.against = rows, against
        self.register_buffer("weights", weights.detach(), persistent=False)
        shape = rows.movers.count, rows.keys.shape[1]
        self.residual = nn.Parameter(torch.zeros(shape, dtype=dtype, device=rows.keys.device))

    @property
    def keys(self) -> Tensor:
        """The keys before they are moved, unit rows (N, D)."""
        return self.rows.keys

    @property
    def factors(self) -> Tensor:
        """The frozen rows whose products with image features the cache needs, (n, D); here the keys."""
        return self.rows.keys

    def key_products(self, r: Tensor, products: Tensor, overlap: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Products of the keys with f, (B, N), and with the residuals of their classes, (N,).

        Args:
            r: the residual, (C, D).
            products: the products of f with `factors`, (B, n).
            overlap: the products of the support rows with r, (N,).
            support: the products of f with the support rows, (B, N); a subclass may need them.
        """
        return products, overlap

    def logits(self, terms: CacheTerms, beta: float) -> Tensor:
        """The evidence for each class at a sharpness beta, (B, C), from the result of `cache_terms`."""
        return self._logits(terms, beta, self.rows.speakers)

    def row_logits(self, terms: CacheTerms, beta: float) -> Tensor:
        """The evidence of each row, (B, N). `logits` is its sum within classes."""
        count = len(self.rows.keys)
        each = torch.arange(count, device=self.rows.keys.device)
        return self._logits(terms, beta, Groups(each, count, None))

    def _logits(self, terms: CacheTerms, beta: float, speakers: Groups) -> Tensor:
        slope, offset = (-beta, 0.0) if self.against else (beta, -beta)
        return cache_logits(*terms, self.weights, slope, offset, self.rows.movers, speakers)


class ClassNegativeKeys(MovedKeys):
    """Negative keys, one per class: the unit mean of all support rows of other classes.

    Args:
        rows: the support rows.
        weights: w of each support row, (N,); the key of a class has the sum of the weights of its rows.
        dtype: the type of the residual.
    """

    def __init__(self, rows: SupportRows, weights: Tensor, dtype: torch.dtype = torch.float32):
        count = rows.movers.count
        keys = class_negative_keys(rows.keys, rows.movers.classes, count)
        each = torch.arange(count, device=keys.device)
        super().__init__(SupportRows(keys, each, each, count), rows.speakers.sum(weights), dtype, against=True)
        self.forget_arguments()  # so that a head file does not hold the support rows; see `deployed`

    def deployed(self) -> MovedKeys:
        """This cache without the support rows from which its keys were made."""
        cache = MovedKeys(self.rows, self.weights, self.residual.dtype, against=True)
        cache.load_state_dict(self.state_dict())
        return cache


class SlotNegativeKeys(MovedKeys):
    """The authors' negative keys. The key of the k-th row of a class is the unit mean of the k-th rows of other
    classes.

    A key is n = (S_k - F_n) / m, where S_k is the sum of the k-th rows of all classes and m the length of the
    difference. So products with these keys follow from products with the K sums and with the support rows
    (`slot_sums`), and the keys themselves are not computed.

    Args:
        rows: the support rows.
        weights: w of each row, (N,).
        dtype: the type of the residual.

    Raises:
        ValueError: the classes have different numbers of rows.
    """

    sums: Tensor
    inverse: Tensor

    def __init__(self, rows: SupportRows, weights: Tensor, dtype: torch.dtype = torch.float32):
        super().__init__(rows, weights, dtype, against=True)
        if rows.movers.shots is None:
            raise ValueError(
                "Slot-wise negative keys need the same number of images in every class, but some class has fewer "
                "than the others. Set TRAINER.SIMNL.NEGATIVE_KEYS to 'class' (or PRESET to 'repaired')."
            )
        self.shots = rows.movers.shots
        sums, inverse = slot_sums(rows.keys, self.shots)
        self.register_buffer("sums", sums, persistent=False)
        self.register_buffer("inverse", inverse, persistent=False)

    @property
    def keys(self) -> Tensor:
        """The keys before they are moved, unit rows (N, D). Training does not use them."""
        return slot_negative_keys(self.rows.keys, self.rows.movers.count, self.shots)

    @property
    def factors(self) -> Tensor:
        """The sums S, (K, D)."""
        return self.sums

    def key_products(self, r: Tensor, products: Tensor, overlap: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """The products of the base class, computed from S and from the support rows."""
        dots = slot_products(support, products.unsqueeze(1), self.inverse)
        return dots, slot_products(overlap, r @ self.sums.T, self.inverse)


NEGATIVE_KEYS = {"class": ClassNegativeKeys, "slot": SlotNegativeKeys}


def cache_products(caches: Sequence[MovedKeys], f: Tensor) -> list[Tensor]:
    """Products of f (B, D) with the frozen factors of each cache, (B, n) each."""
    return [f @ cache.factors.T for cache in caches]


def cache_terms(caches: Sequence[MovedKeys], f: Tensor, products: Tensor | None = None) -> list[CacheTerms]:
    """The terms from which the evidence of several caches follows at any beta. Shared products are computed once.

    Args:
        caches: the caches; the keys of the first one are the support rows.
        f: unit image features, (B, D).
        products: the results of `cache_products` side by side, if they are known.

    Returns:
        For each cache: f.k (B, N), f.r (B, C), and 1 / |k_n + r_c| (N,). See `cache_logits`.
    """
    sizes = [len(cache.factors) for cache in caches]
    parts = cache_products(caches, f) if products is None else products.split(sizes, dim=1)
    moves = [cache.residual.to(f.dtype) for cache in caches]
    overlaps: dict[int, Tensor] = {}
    for rows in dict.fromkeys(cache.rows for cache in caches):
        here = [i for i, cache in enumerate(caches) if cache.rows is rows]
        overlaps |= zip(here, key_overlaps(rows.keys, [moves[i] for i in here], rows.movers), strict=True)
    terms = []
    for i, (cache, r) in enumerate(zip(caches, moves, strict=True)):
        dots, overlap = cache.key_products(r, parts[i], overlaps[i], parts[0])
        terms.append((dots, f @ r.T, inverse_norms(overlap, r, cache.rows.movers)))
    return terms
