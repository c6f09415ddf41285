"""TransCLIP: a mixture of Gaussians fitted to the whole test set, on top of any method. It is transductive.

BASE names the method, which is trained and selected as if it stood alone. The mixture starts from its logits of all
test images:

    y^ = softmax(logits),  z = y^, and then in turns
    z_ic  ~ y^_ic^lambda exp(u_ic / tau),   u = g + tau / (2 k) (W' [z; Y] + W z)            5 times
    mu_c  ~ sum_i z_ic q_i / Q + tau gamma / N sum_{n: y_n = c} s_n                          to unit length
    sigma = [sum_ic z_ic (q_i - mu_c)^2 / Q + tau gamma / N sum_n (s_n - mu_{y_n})^2] / (1 + tau gamma)
    g_ic  = -1/2 sum_d (q_id - mu_cd)^2 / sigma_d

q are the unit features of the Q test images, as the base takes them; s and y are a unit feature and the label of each
of the N support images. W has the cosines of each image with its k = 3 nearest test images, and sigma is one variance
per channel for all classes. Without SUPPORT, lambda = 1, gamma = 0, and the means start at the eight most confident
images of each class. With SUPPORT, lambda = 1/2 and gamma is the first best of GAMMAS on the selection images, where
each image takes the z of its nearest test image. The prediction is z. What the base learned does not change, and no
label of a test image is used.

Source: Zanella, Gerin, Ben Ayed, "Boosting Vision-Language Models with Transduction", NeurIPS 2024, arXiv:2406.01837,
and the authors' released code.
Differences from the authors' code: classes may have unequal numbers of rows, or none, which is an error in the authors'
code. A class that loses all its images keeps its mean, where the authors' code gives NaN. Everything is in float64.
PRESET official keeps the quirks that move the authors' figures: the rows of W and those of [z; Y] are in different
orders (ROWS shifted), each gamma continues from the state of the one before (RESET off), the features of the support
are those of one augmented view, and without support y^ of some bases is overwritten by z (KEEP_START off). Parity:
tests/parity/test_transclip.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import Head
from simnl.fewshot.neighbours import Affinity, nearest
from simnl.fewshot.on_top import OnTop
from simnl.fewshot.options import Options
from simnl.fewshot.selection import percent_right
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

log = logging.getLogger(__name__)

NEIGHBOURS, CONFIDENT = 3, 8


@dataclass(frozen=True)
class TransCLIPOptions(Options):
    """Constants, and the authors' quirks; configs/trainers/TransCLIP.yaml explains each."""

    NODE = "TRAINER.TRANSCLIP"

    base: str = "ZeroshotCLIP"
    support: bool = True
    support_view: Literal["mean", "first"] = "mean"
    gammas: tuple[float, ...] = (0.002, 0.01, 0.02, 0.2)
    tau: float = 50.0
    outer: int = 10
    inner: int = 5
    rows: Literal["aligned", "shifted"] = "aligned"
    reset: bool = True
    keep_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gammas or self.tau <= 0 or min(self.outer, self.inner) < 1:
            raise ValueError(
                f"{self.NODE} needs a value in GAMMAS, TAU above 0, and OUTER and INNER of at least 1; they are "
                f"{list(self.gammas)}, {self.tau}, {self.outer} and {self.inner}."
            )


@dataclass
class State:
    """The fitted z (Q, C), means (C, D) and variances (D,), and the initial y^ (Q, C) as `start`."""

    start: Tensor
    z: Tensor
    means: Tensor
    variances: Tensor


class Mixture:
    """The mixture of one test set.

    Args:
        start: y^, rows that sum to one, (Q, C) float64.
        queries: unit, (Q, D) float64.
        support: unit, (N, D) float64; labels: (N,) int64. N may be 0.
        options: constants and quirks.
    """

    def __init__(self, start: Tensor, queries: Tensor, support: Tensor, labels: Tensor, options: TransCLIPOptions):
        self.queries, self.support, self.options = queries, support, options
        self.hot = F.one_hot(labels, start.shape[1]).to(start.dtype)
        self.trust = 0.5 if len(support) else 1.0  # lambda
        neighbours = min(NEIGHBOURS, len(queries) - 1)
        shifted = options.rows == "shifted"
        own = nearest(queries, queries, neighbours, skip=1)
        theirs = nearest(support, queries, neighbours, skip=int(shifted))
        order = (theirs, own) if shifted else (own, theirs)
        self.affinity = Affinity(*(torch.cat(parts) for parts in zip(*order, strict=True)))
        self.first = Affinity(*(part[: len(queries)] for part in self.affinity))  # the first Q rows of W
        self.start = start

    def initial(self) -> State:
        """z = y^, the means of the support or of the most confident images, variances 1 / D."""
        return State(
            self.start, self.start, self._first_means(), torch.full_like(self.queries[0], 1 / self.queries.shape[1])
        )

    def _first_means(self) -> Tensor:
        weights, rows = self.start.topk(min(CONFIDENT, len(self.queries)), dim=0)
        confident = torch.einsum("kc,kcd->cd", weights, self.queries[rows])
        seen = self.hot.sum(0)[:, None] > 0
        return F.normalize(torch.where(seen, self.hot.T @ self.support, confident), dim=-1)

    def fit(self, state: State, gamma: float) -> State:
        """The state after all iterations at a weight of the support."""
        for _ in range(self.options.outer):
            state = self.labels_given(state)
            state.means = self.means_given(state, gamma)
            state.variances = self.variances_given(state, gamma)
        return self.labels_given(state)

    def labels_given(self, state: State) -> State:
        """z after the inner iterations, with given means and variances."""
        inverse, tau = 1 / state.variances, self.options.tau
        scaled = state.means * inverse
        gauss = -0.5 * (self.queries.square() @ inverse)[:, None] + self.queries @ scaled.T
        gauss -= 0.5 * (state.means * scaled).sum(1)
        start, z, size = state.start, state.z, len(self.queries)
        for _ in range(self.options.inner):
            spread = self.affinity.transposed_times(torch.cat([z, self.hot]), size) + self.first.times(z)
            u = gauss / tau + spread / (2 * NEIGHBOURS)
            z = start.pow(self.trust) * (u - u.amax(1, keepdim=True)).exp()
            z = z / z.sum(1, keepdim=True)
            if not (self.options.keep_start or len(self.support)):
                start = z
        return State(start, z, state.means, state.variances)

    def _support_weight(self, gamma: float) -> float:
        return self.options.tau * gamma / max(1, len(self.support))

    def means_given(self, state: State, gamma: float) -> Tensor:
        """The means as unit rows, (C, D). A class without mass keeps its mean."""
        sums = state.z.T @ self.queries / len(self.queries) + self._support_weight(gamma) * self.hot.T @ self.support
        return torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=-1, eps=1e-300), state.means)

    def variances_given(self, state: State, gamma: float) -> Tensor:
        """The variances (D,), from squares and products of features. Rows of z sum to one."""
        weight, means = self._support_weight(gamma), state.means
        mass = state.z.sum(0) / len(self.queries) + weight * self.hot.sum(0)
        products = state.z.T @ self.queries / len(self.queries) + weight * self.hot.T @ self.support
        squares = self.queries.square().mean(0) + weight * self.support.square().sum(0)
        total = squares - 2 * (means * products).sum(0) + mass @ means.square()
        return total / (1 + (self.options.tau * gamma if len(self.support) else 0.0))

    def runs(self, gammas: Sequence[float]) -> Iterator[State]:
        """The fitted state for each gamma in turn."""
        state = self.initial()
        for gamma in gammas:
            state = self.fit(self.initial() if self.options.reset else state, gamma)
            yield state


class TransCLIPTransduction(nn.Module):
    """Turns a head's logits of a whole set of images into those of TransCLIP.

    Args:
        support: unit rows, (N, D); labels: (N,) int64; N may be 0.
        validation: unit rows, (M, D); validation_labels: (M,). With M = 0, gamma is the first of GAMMAS.
        options: constants and quirks.
    """

    support: Tensor
    labels: Tensor
    validation: Tensor
    validation_labels: Tensor

    def __init__(self, support, labels, validation, validation_labels, options: TransCLIPOptions):
        super().__init__()
        tensors = {"support": support, "labels": labels, "validation": validation}
        for name, tensor in (tensors | {"validation_labels": validation_labels}).items():
            self.register_buffer(name, tensor.detach().clone(), persistent=False)
        self.options = options

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """log z (Q, C) from raw features (Q, D) and the head's logits (Q, C) of the whole set."""
        if len(features) < 2:
            return logits  # because there is no other image
        queries = F.normalize(features, dim=-1)
        start = logits.float().softmax(1).double()
        mixture = Mixture(start, queries.double(), self.support.double(), self.labels, self.options)
        z = self.chosen(mixture, queries) if len(self.support) else mixture.fit(mixture.initial(), 0.0).z
        return z.clamp(min=torch.finfo(torch.float32).tiny).log().to(logits.dtype)

    def chosen(self, mixture: Mixture, queries: Tensor) -> Tensor:
        """z (Q, C) at the first best gamma on the validation images."""
        if not len(self.validation):
            return next(mixture.runs(self.options.gammas[:1])).z
        place = nearest(self.validation, queries, 1).columns[:, 0]
        best, found = -1.0, mixture.start
        for gamma, state in zip(self.options.gammas, mixture.runs(self.options.gammas), strict=True):
            right = percent_right(state.z[place].argmax(1), self.validation_labels)
            log.info("TransCLIP at gamma %g: %.2f %% of the selection images are right", gamma, right)
            if right > best:
                best, found = right, state.z
        return found


@TRAINER_REGISTRY.register()
class TransCLIP(OnTop):
    """The plug-in as a trainer: the trainer of the method in BASE, whose head gets a `TransCLIPTransduction`.

    Table row:
        prediction: z_c of a mixture of Gaussians fitted to all test images, from the softmax of a base's logits
        learned: nothing, but what the base learns
        parameters: 0
        checked: authors' code, K = 1 … 16; formula
    """

    training_free = True
    inference = "transductive"

    @classmethod
    def default_cfg(cls) -> CN:
        """The options."""
        return CN(TransCLIPOptions.defaults())

    @classmethod
    def declared(cls, base: type[VLTrainer], node: CN) -> dict[str, Any]:
        """Declare that the mixture uses the support."""
        return {**super().declared(base, node), "uses_support": base.uses_support or node.SUPPORT}

    def build_head(self, task: FewShotTask, cfg: CN) -> Head:
        """The head of the base method, with the plug-in."""
        head = self.base_class().build_head(self, task, cfg)
        options, keys = TransCLIPOptions.of(self.own_node(self.cfg)), task.cache_keys()
        if options.support_view == "first":
            keys = F.normalize(task.support_features[0], dim=-1).to(task.device)
        number, validation = len(keys) if options.support else 0, getattr(self, "validation", None)
        images = (keys[:0], task.support_labels[:0]) if validation is None else (validation.features, validation.labels)
        head.transduction = TransCLIPTransduction(
            keys[:number], task.support_labels[:number], F.normalize(images[0], dim=-1), images[1], options
        )
        return head
