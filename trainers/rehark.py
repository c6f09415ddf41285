"""ReHARK: kernel ridge regression of the errors of a mixed prior, on doubled support images. Training-free.

    phi(u) = norm(sign(u) |u|^power),   a = phi(t),  b = phi(g),  x~ = phi(x)
    pi     = norm((1 - refine_w) norm((1 - alpha_txt) a + alpha_txt b) + refine_w norm(mean x~ of the class))
    S      = x~ and, behind it, norm(x~ + blend_img pi_y);   Y: one-hot labels of both halves
    v'     = norm((v~ - m) ((sd_S + e) / (sd + e))^var_adj + m - soft (m - m_S)),   v~ = phi(f), e = 1e-6
    k(u,w) = mix_k exp(-beta1 |u - w|^2) + (1 - mix_k) exp(-beta2 |u - w|^2)
    logits = alpha v' . pi + k(v', S) (k(S, S) + lmbda I)^-1 (Y - alpha S pi^T)

t and g are the text classifiers of the templates and of the CuPL sentences; without a CuPL file, g is t. x are unit
support features: one mean over views per image (ROWS keys), or every view (ROWS views). f is the unit image feature.
m_S and sd_S are the mean and the standard deviation of S per channel, m and sd those of reference images. alpha is the
author's scale_zs. Nothing is learned. ProKeR is the special case of one kernel, without power, reference and blending.
The eleven numbers are chosen among TRIALS random settings.

The reference images are the images that the protocol lets a method select on, or the support images if there are
none. This is inductive, and the default. With TRANSDUCTIVE they are all images of the set that is evaluated, and a
prediction then depends on the other test images.

Source: Islam, "ReHARK", https://ssrn.com/abstract=6396531 (2026), and the author's released code.
Differences from the author's code: settings are drawn evenly by the run's seed, where the author's come from
Optuna's tree-structured Parzen estimator without a seed. ImageNet is searched on the images of the protocol, and not on
test images. A class without rows keeps its text as the prior. The system is solved in float64. PRESET official has the
author's 1000 trials, every view as a row, and the evaluated set as reference. Parity: tests/parity/test_rehark.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.loaders import LabelledFeatures, Whole, seeded_generator
from simnl.fewshot.options import Options
from simnl.fewshot.ridge import ridge_coefficients
from simnl.fewshot.search import random_settings
from simnl.fewshot.selection import may_search, percent_right, predict
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

log = logging.getLogger(__name__)

EPS = 1e-6


@dataclass(frozen=True)
class ReHARKOptions(Options):
    """Options that are not hyper-parameters; configs/trainers/ReHARK.yaml explains them."""

    NODE = "TRAINER.REHARK"

    transductive: bool = False
    rows: Literal["keys", "views"] = "keys"
    trials: int = 64
    search_rows: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials < 1 or self.search_rows < 0:
            raise ValueError(
                f"{self.NODE}.TRIALS must be at least 1 and SEARCH_ROWS at least 0; they are {self.trials} and "
                f"{self.search_rows}."
            )


def power_transform(x: Tensor, power: float) -> Tensor:
    """Unit rows of sign(x) |x|^power, (n, D)."""
    return F.normalize(x.sign() * x.abs().pow(power), dim=-1)


class ReHARKHead(SearchableHead):
    """A mixed prior, and a kernel regression of its errors; alpha is the weight of the prior.

    Args:
        text, sentences: unit text classifiers, (C, D).
        rows: unit support features, (R, D).
        labels: (R,) int64, any order.
        reference: unit features of the images whose mean and deviation rectify a query, (M, D), M >= 2.
        hparams: the initial hyper-parameters.
    """

    text: Tensor
    sentences: Tensor
    rows: Tensor
    labels: Tensor
    reference: Tensor

    STAGE = (
        "beta1", "beta2", "mix_k", "lmbda", "soft", "var_adj", "alpha_txt", "refine_w", "blend_img", "power",
    )  # fmt: skip

    def __init__(
        self, *, text: Tensor, sentences: Tensor, rows: Tensor, labels: Tensor, reference: Tensor, **hparams: float
    ):
        super().__init__(**hparams)
        self.search_width = 2 * len(rows)
        tensors = {"text": text, "sentences": sentences, "rows": rows, "labels": labels, "reference": reference}
        for name, tensor in tensors.items():
            self.frozen_buffer(name, tensor)
        self._solved: tuple[tuple, tuple[Tensor, ...]] | None = None

    def prior(self, rows: Tensor, *, power: float, alpha_txt: float, refine_w: float) -> Tensor:
        """pi, (C, D) unit rows; for a class without support rows, from its text only. rows: x~, (R, D)."""
        text = torch.lerp(power_transform(self.text, power), power_transform(self.sentences, power), alpha_txt)
        sums = torch.zeros_like(text).index_add(0, self.labels, rows)
        refined = torch.lerp(F.normalize(text, dim=-1), F.normalize(sums, dim=-1), refine_w)
        return F.normalize(refined, dim=-1)

    def kernel(self, u: Tensor, w: Tensor, *, beta1: float, beta2: float, mix_k: float) -> Tensor:
        """k(u, w) of unit rows, (n, m) float64; their squared distance is 2 - 2 u.w."""
        half = 1 - u.double() @ w.double().T
        return mix_k * torch.exp(-2 * beta1 * half) + (1 - mix_k) * torch.exp(-2 * beta2 * half)

    def solve(self, h: Mapping[str, float]) -> tuple[Tensor, Tensor, Tensor]:
        """S (2R, D), pi (C, D) and (k(S, S) + lmbda I)^-1 [Y, S pi^T] (2R, 2C) in float64; the last solution is stored.

        Raises:
            ValueError: lmbda is not positive.
        """
        if h["lmbda"] <= 0:
            raise ValueError(f"ReHARK's ridge must be positive, not {h['lmbda']} (TRAINER.REHARK.LMBDA, or RANGES).")
        key = (*sorted(h.items()), self.rows.device)
        if self._solved is None or self._solved[0] != key:
            rows = power_transform(self.rows, h["power"])
            pi = self.prior(rows, **{name: h[name] for name in ("power", "alpha_txt", "refine_w")})
            support = torch.cat([rows, F.normalize(rows + h["blend_img"] * pi[self.labels], dim=-1)])
            hot = F.one_hot(self.labels.repeat(2), len(pi)).to(pi.dtype)
            gram = self.kernel(support, support, **{name: h[name] for name in ("beta1", "beta2", "mix_k")})
            solution = ridge_coefficients(gram, torch.cat([hot, support @ pi.T], dim=1), h["lmbda"])
            self._solved = (key, (support, pi, solution))
        support, pi, solution = self._solved[1]
        return support, pi, solution

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Unit features (B, D), and the reference images."""
        return {"features": F.normalize(features, dim=-1), "reference": self.reference}

    def stage(self, terms: Mapping[str, Tensor], **h: float) -> Mapping[str, Tensor]:
        """The smoothed labels, and the prior's cosines minus their smoothed values on the support, both (B, C)."""
        support, pi, solution = self.solve(h)
        v, reference = (power_transform(terms[name], h["power"]) for name in ("features", "reference"))
        mean, stretch = reference.mean(0), (support.std(0) + EPS) / (reference.std(0) + EPS)
        moved = (v - mean) * stretch ** h["var_adj"] + mean - h["soft"] * (mean - support.mean(0))
        v = F.normalize(moved, dim=-1)
        weights = self.kernel(v, support, **{name: h[name] for name in ("beta1", "beta2", "mix_k")})
        labels, smoothed = (weights @ solution).to(v.dtype).chunk(2, dim=1)
        return {"labels": labels, "prior": v @ pi.T - smoothed}

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = labels + alpha prior."""
        return stage["labels"], stage["prior"]


class TransductiveReHARKHead(ReHARKHead):
    """ReHARK with a whole set of images as its own reference."""

    def transduce(self, features: Tensor) -> Tensor:
        """Logits (M, C) of a whole set, raw (M, D); for a single image, those of `forward`."""
        f = F.normalize(features, dim=-1)
        return self.combine({"features": f, "reference": f if len(f) > 1 else self.reference})


@TRAINER_REGISTRY.register()
class ReHARK(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: α v'·π_c + k(v', S)(k(S, S) + λ I)⁻¹(Y - α S π), π a prior of text and class means, S each image
            twice, v' a rectified feature
        learned: nothing; kernel ridge regression
        parameters: 0
        checked: authors' code, K = 1 … 16; formula
    """

    training_free = True
    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """The sources of the rows and of the reference, the search, and the initial hyper-parameters."""
        ranges = {name.upper(): [0.0, 1.0] for name in ("mix_k", "soft", "var_adj", "alpha_txt", "refine_w")}
        ranges |= {"BETA1": [0.1, 30.0], "BETA2": [0.01, 5.0], "LOG10_LMBDA": [-3.0, 0.69897], "BLEND_IMG": [0.0, 2.0]}
        ranges |= {"ALPHA": [1.0, 20.0], "POWER": [0.5, 1.0]}
        initial = {"BETA1": 4.0, "BETA2": 0.5, "MIX_K": 0.5, "LMBDA": 0.1, "SOFT": 0.0, "VAR_ADJ": 0.0}
        initial |= {"ALPHA_TXT": 0.5, "REFINE_W": 0.3, "BLEND_IMG": 0.5, "POWER": 1.0, "ALPHA": 5.0}
        return CN({**ReHARKOptions.defaults(), **initial, "RANGES": CN(ranges)})

    @classmethod
    def inference_of(cls, cfg: CN) -> str:
        """`transductive` if the key TRANSDUCTIVE says so, else `inductive`."""
        return "transductive" if cfg.TRANSDUCTIVE else "inductive"

    def build_head(self, task: FewShotTask, cfg: CN) -> ReHARKHead:
        """Give the head its tensors and numbers."""
        options, keys = ReHARKOptions.of(cfg), task.cache_keys()
        rows, labels = task.view_rows() if options.rows == "views" else (keys, task.support_labels)
        validation, reference = getattr(self, "validation", None), keys
        if validation is not None and len(validation.labels) > 1:
            reference = F.normalize(validation.features, dim=-1)
        kind = TransductiveReHARKHead if options.transductive else ReHARKHead
        return kind(
            text=task.text_features("template"),
            sentences=task.text_features("cupl" if "cupl" in task.prompts else "template"),
            rows=rows,
            labels=labels,
            reference=reference,
            **ReHARKHead.hparams_of(cfg),
        )

    def fit(self) -> None:
        """Choose the best of the random settings; unless ties follow the author's rule, also of the initial one."""
        if not may_search(self):
            return
        rows = self.node.SEARCH_ROWS or self.num_val
        images = LabelledFeatures(self.validation.features[:rows], self.validation.labels[:rows])
        settings = list(self.settings())
        scores = [self.score(setting, images) for setting in settings]
        best = max(range(len(scores)), key=scores.__getitem__)  # the first one of equals
        self.head.hparams.update(settings[best])
        self.num_settings = len(settings)
        log.info("Tried %d settings; the best has %.2f %%: %s", len(settings), scores[best], self.head.hparams)

    def settings(self) -> Iterator[dict[str, float]]:
        """The settings to try, which depend only on the run's seed."""
        if self.cfg.SEARCH.TIES != "first":
            yield dict(self.head.hparams)
        generator = seeded_generator(self.cfg.SEED, "ReHARK's settings")
        for drawn in random_settings(self.node.RANGES, self.node.TRIALS, generator):
            powers = {name: 10.0**value for name, value in drawn.items() if name.startswith("LOG10_")}
            named: dict[str, Any] = {**drawn, **powers}
            yield {name.removeprefix("LOG10_").lower(): value for name, value in named.items()}

    def score(self, setting: Mapping[str, float], images: LabelledFeatures) -> float:
        """The accuracy in percent at a setting; 0 if its system cannot be solved."""
        self.head.hparams.update(setting)
        whole = self.node.TRANSDUCTIVE
        try:
            predicted, labels = predict(self.head, Whole(images) if whole else images, self.device, transduce=whole)
        except torch.linalg.LinAlgError:
            return 0.0
        return percent_right(predicted, labels)
