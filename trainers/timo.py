"""TIMO and TIMO-S: text and image features guide each other before a Gaussian discriminant. Training-free.

    m_c = norm(sum_{n: y_n = c} k_n),   a_cp = m_c . e_cp
    t_c = norm(sum_p softmax_p(gamma a_cp / |a_c|) e_cp)                     image guides text
    z_cj = a_c(j) e_c(j), j = 1 .. beta                                      text guides image
    logits = alpha f . t_c + f . W_c + b_c,   (W, b): GDA's discriminant of the rows {z} and {x}

e_cp are the unit features of the single prompts of a class, templates first, then CuPL sentences, cut to the P that
every class has. k_n is the cache key of support image n, x are the unit features of all augmented views of all support
images, and f is the unit image feature. e_c(1), e_c(2), ... are the prompts of a class in the order of a_cp, the
greatest first, and the whole list twice, so that beta > P repeats the best prompts. The rows z are short on purpose:
their length is the match a. alpha weighs the text, and the model's logit scale does not occur. Nothing is learned. TIMO
has beta = P and a constant gamma, and searches alpha. TIMO-S first takes the gamma whose text classifier f . t_c is the
best alone, and then searches beta and alpha.

Source: Li et al., "Text and Image Are Mutually Beneficial: Enhancing Training-Free Few-Shot Classification with CLIP",
AAAI 2025, arXiv:2412.11375, and the authors' released code.
Differences from the authors' code: classes may have unequal numbers of rows, which is an error in the authors'
code, and a class without rows has the mean of its prompts in the place of m_c. Cache keys are the means of the same
views that are rows, where the authors take other passes. Everything before the discriminant is in float32, and the
discriminant is solved in float64; the authors' code has half precision and a pseudo-inverse in float32. ImageNet is
searched on the images of the protocol, and not on the test images. The presets differ in ties and in the initial alpha.
Parity: tests/parity/test_timo.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache import class_sum
from simnl.fewshot.discriminant import Moments, discriminant
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.search import Grid, choose
from simnl.fewshot.selection import may_search
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


def prompt_match(prompts: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
    """a_cp, the cosines of prompts (C, P, D) with their class's mean key, (C, P). keys: (N, D); labels: (N,)."""
    sums = class_sum(keys.T, labels, len(prompts), None).T
    empty = torch.bincount(labels, minlength=len(prompts)) == 0
    means = F.normalize(torch.where(empty[:, None], prompts.mean(1), sums), dim=-1)
    return torch.einsum("cd,cpd->cp", means, prompts)


def guided_text(prompts: Tensor, match: Tensor, gamma: float) -> Tensor:
    """Image guides text: prompts (C, P, D) weighed by their match (C, P), (C, D) unit rows."""
    weights = (gamma * F.normalize(match, dim=1)).softmax(1)
    return F.normalize(torch.einsum("cp,cpd->cd", weights, prompts), dim=-1)


def pseudo_images(prompts: Tensor, match: Tensor, beta: int) -> tuple[Tensor, Tensor]:
    """Text guides image: the beta best prompts of each class as rows (C * beta, D) of length `match`, and labels."""
    order = match.argsort(dim=1, descending=True, stable=True).repeat(1, 2)[:, :beta]
    rows = match.gather(1, order)[..., None] * prompts.gather(1, order[..., None].expand(-1, -1, prompts.shape[-1]))
    labels = torch.arange(len(prompts), device=prompts.device).repeat_interleave(order.shape[1])
    return rows.flatten(0, 1), labels


class TIMOHead(SearchableHead):
    """A guided text classifier for each gamma, a discriminant for each beta; alpha is the weight of the text.

    Args:
        prompts: unit rows, (C, P, D).
        views: unit features of the augmented views of the support images, (V, N, D).
        cache_keys: unit rows, (N, D).
        labels: (N,) int64, any order.
        gammas, betas: the possible values of `gamma` and `beta`. A beta is a whole number from 1 to 2 P.
        hparams: the initial gamma, beta, alpha.
    """

    text: Tensor
    weights: Tensor
    biases: Tensor

    STAGE = ("gamma", "beta")

    def __init__(
        self,
        *,
        prompts: Tensor,
        views: Tensor,
        cache_keys: Tensor,
        labels: Tensor,
        gammas: Sequence[float],
        betas: Sequence[float],
        **hparams: float,
    ):
        super().__init__(**hparams)
        self.gammas, self.betas, self.num_prompts = list(gammas), list(betas), prompts.shape[1]
        match, classes = prompt_match(prompts, cache_keys, labels), len(prompts)
        images = Moments.of(views.flatten(0, 1), labels.repeat(len(views)), classes)
        solved = []
        for beta in self.betas:
            rows, owners = pseudo_images(prompts, match, int(beta))
            solved.append(discriminant(images.plus(Moments.of(rows, owners, classes))))
        self.frozen_buffer("text", torch.stack([guided_text(prompts, match, gamma) for gamma in self.gammas]))
        self.frozen_buffer("weights", torch.stack([weights for weights, _ in solved]).to(prompts.dtype))
        self.frozen_buffer("biases", torch.stack([biases for _, biases in solved]).to(prompts.dtype))

    def adopt(self, trained: Any) -> None:
        """Adopt as the base class does, with beta scaled to the number of prompts, which other classes may change."""
        super().adopt(trained)
        wanted = trained.hparams["beta"] * self.num_prompts / trained.num_prompts
        self.hparams["beta"] = min(self.betas, key=lambda beta: abs(beta - wanted))

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Unit features (B, D)."""
        return {"features": F.normalize(features, dim=-1)}

    def stage(self, terms: Mapping[str, Tensor], *, gamma: float, beta: float) -> Mapping[str, Tensor]:
        """Cosines with the guided text, and discriminants, both (B, C)."""
        f, place = terms["features"], self.betas.index(beta)
        return {
            "text": f @ self.text[self.gammas.index(gamma)].T,
            "gda": f @ self.weights[place].T + self.biases[place],
        }

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = gda + alpha text."""
        return stage["gda"], stage["text"]


@TRAINER_REGISTRY.register()
class TIMO(VLTrainer):
    """The method with a constant gamma, and each prompt once.

    Table row:
        prediction: α f·norm(Σ_p softmax_p(γ a_cp / |a_c|) e_cp) + f·P μ_c - μ_c·P μ_c / 2: GDA of the views and
            of prompts e_cp, each as long as its match a_cp with the class's mean image
        learned: nothing
        parameters: 0
        checked: authors' code, K = 1 … 16; formula
    """

    training_free = True
    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """gamma, the initial alpha, and the grid of alpha's decimal logarithm."""
        return CN({"GAMMA": 50.0, "ALPHA": 0.1, "GRID": CN({"LOG10_ALPHA": [-4.0, 5.0, 9]})})

    def gammas(self, cfg: CN) -> list[float]:
        """The values among which gamma is chosen."""
        return [cfg.GAMMA]

    def betas(self, cfg: CN, num_prompts: int) -> list[float]:
        """The values among which beta is chosen, for P prompts per class."""
        return [float(num_prompts)]

    def search_space(self, cfg: CN) -> Grid:
        """The grid of beta and alpha, at the gamma in use."""
        head, alphas = self.head, Grid.of(cfg.GRID).axes["alpha"]
        return Grid({"gamma": [head.hparams["gamma"]], "beta": self.betas(cfg, head.num_prompts), "alpha": alphas})

    def build_head(self, task: FewShotTask, cfg: CN) -> TIMOHead:
        """Give the head its tensors and numbers."""
        prompts = task.text_rows("template", *(["cupl"] if "cupl" in task.prompts else []))
        initial = float(prompts.shape[1])
        return TIMOHead(
            prompts=prompts,
            views=F.normalize(task.support_features.to(task.device), dim=-1),
            cache_keys=task.cache_keys(),
            labels=task.support_labels,
            gammas=sorted({*self.gammas(cfg), cfg.GAMMA}),
            betas=sorted({*self.betas(cfg, prompts.shape[1]), initial}),
            gamma=cfg.GAMMA,
            beta=initial,
            alpha=cfg.ALPHA,
        )


@TRAINER_REGISTRY.register()
class TIMOS(TIMO):
    """The method with gamma and beta chosen on the images of the protocol.

    Table row:
        prediction: the same; γ, and how many prompts stand beside the views, are searched
        learned: nothing
        parameters: 0
        checked: authors' code, K = 1 … 16; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """The keys of TIMO, the grids of gamma and alpha, and the number of values of beta from 1 to 2 P to try."""
        node = super().default_cfg()
        node.GRID.GAMMA = [5.0, 105.0, 20]
        node.BETAS = 10
        return node

    def gammas(self, cfg: CN) -> list[float]:
        """The values of gamma in the grid."""
        return list(Grid.of(cfg.GRID).axes["gamma"])

    def betas(self, cfg: CN, num_prompts: int) -> list[float]:
        """Equispaced whole numbers from 1 to 2 P, both ends included.

        Raises:
            ValueError: BETAS is below 1.
        """
        if cfg.BETAS < 1:
            raise ValueError(f"TRAINER.TIMOS.BETAS is {cfg.BETAS}. Give the number of values to try, at least 1.")
        return sorted({float(int(beta)) for beta in torch.linspace(1, 2 * num_prompts, cfg.BETAS, dtype=torch.float64)})

    def fit(self) -> None:
        """Choose gamma by the accuracy of the text classifier."""
        if not may_search(self):
            return
        grid, head = Grid({"gamma": self.gammas(self.node)}), self.head
        f = head.terms(self.validation.features)["features"]
        right = [
            ((f @ head.text[head.gammas.index(g)].T).argmax(1) == self.validation.labels).sum()
            for g in grid.axes["gamma"]
        ]
        head.hparams |= choose(torch.stack(right).cpu(), grid, head.hparams, self.cfg.SEARCH.TIES)

    def select(self) -> None:
        """Select as all methods do, and count the gammas among the settings."""
        super().select()
        if self.num_settings > 1:
            self.num_settings += len(self.gammas(self.node))
