"""The negative branch of SimNL as a part of other methods: evidence against each class.

    Q = g s (1 - f.v_c)              v_c = norm(V_c + rho_V)       negative text
    N = sum_n w_n exp(-beta f.q_c)   q_c = norm(F-_c + r_neg)      negative cache, rows n of class c
    logits += weight (Q + alpha N)

Here f is a unit image feature, s the model's logit scale, g `text_scale`, V the unit classifier of the negative
templates, F-_c the unit mean of the cache keys of all other classes, and w_n the instance weights. Only rho_V and
r_neg are learned; they are (C, D) each and zero at the start. SimNL mixes lambda (positive) + (1 - lambda) (negative),
so `weight` is its (1 - lambda) / lambda: 1/3 at its initial lambda of 0.75.

Source: Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation with Negative Learning", WACV 2025,
arXiv:2403.12964; the formulas are those of trainers/simnl.py, with negative keys per class. The branch on other methods
is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from simnl.clip.recipe import Rebuildable
from simnl.fewshot.adapters import ClassNegativeKeys, MovedKeys, NegativeText, SupportRows, cache_terms
from simnl.fewshot.head import Head
from simnl.fewshot.options import Options
from simnl.fewshot.task import FewShotTask

PROMPTS = "negative"  # the prompt set that the branch needs


@dataclass(frozen=True)
class NegativeOptions(Options):
    """Constants of the branch: a method's `NEGATIVE` node in the config, keys in capitals.

    Attributes:
        enabled: False, the default, leaves the method unchanged, bit for bit.
        weight: the weight of the branch when it is added to the method's own logits, above 0.
        lr_factor: the factor on the learning rate for the branch.
        text_scale: g, the scale of the negative text logits.
        cache: False for a branch without a cache, i.e. with the negative text only.
        tau: the temperature of the instance weights.
        alpha, beta: weight and sharpness of the negative cache. The config node lacks them if the method has its own.
    """

    NODE = "NEGATIVE"

    enabled: bool = False
    weight: float = 0.33
    lr_factor: float = 5.0
    text_scale: float = 0.15
    cache: bool = True
    tau: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        for name in ("weight", "lr_factor", "text_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"NEGATIVE.{name.upper()} (in the method's config node) is {getattr(self, name)}, but it must be "
                    "above 0. NEGATIVE.ENABLED switches the branch off."
                )


class NegativeBranch(Rebuildable, nn.Module):
    """The branch as a module. Only the residuals of its parts are learned, (C, D) each.

    Args:
        text: the negative text.
        cache: the negative cache (one key per class); None for the text alone.
        options: the constants of the branch.
    """

    def __init__(self, text: NegativeText, cache: MovedKeys | None, options: NegativeOptions):
        super().__init__()
        self.text, self.cache, self.options = text, cache, options

    @classmethod
    def of(cls, task: FewShotTask, node: Mapping[str, Any]) -> NegativeBranch | None:
        """The branch for a task, or None if the config node switches it off.

        Raises:
            ValueError: the task has no support images. The branch belongs to the classes that it was trained on.
        """
        options = NegativeOptions.of(node)
        if not options.enabled:
            return None
        labels, classes = task.support_labels, task.num_classes
        if not len(labels):
            raise ValueError(
                "The negative branch learns a residual per class of training, so it cannot classify new classes. "
                "Set NEGATIVE.ENABLED to False for base-to-new generalisation."
            )
        text = NegativeText(task.text_features(PROMPTS), options.weight * options.text_scale * task.logit_scale)
        if not options.cache:
            return cls(text, None, options)
        rows = SupportRows(task.cache_keys(), task.support_classes, labels, classes)
        return cls(text, ClassNegativeKeys(rows, options.weight * rows.weights(options.tau)), options)

    def forward(self, features: Tensor) -> Tensor:
        """weight (Q + alpha N), (B, C), which is added to a method's logits, from raw image features (B, D)."""
        text, *cache = self.evidence(features).values()
        return text + cache[0] if cache else text

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The terms of the branch, (B, C): `negative text`, and `negative cache` if there is one."""
        f = F.normalize(features, dim=-1)
        parts = {"negative text": self.text.logits(f)}
        if self.cache is not None:
            (terms,) = cache_terms([self.cache], f)
            parts["negative cache"] = self.options.alpha * self.cache.logits(terms, self.options.beta)
        return parts

    def deployed(self) -> NegativeBranch:
        """This branch without the support rows from which its keys were made."""
        if not isinstance(self.cache, ClassNegativeKeys):
            return self
        return NegativeBranch(self.text, self.cache.deployed(), self.options)


Groups = list[tuple[float, list[nn.Parameter]]]


def with_negative(groups: Groups, branch: NegativeBranch | None) -> Groups:
    """A head's parameter groups with the branch, if there is one, in a group of its own (factor, parameters)."""
    if branch is None:
        return groups
    own = {id(p) for p in branch.parameters()}
    rest = [(factor, [p for p in params if id(p) not in own]) for factor, params in groups]
    return [*rest, (branch.options.lr_factor, list(branch.parameters()))]


def negative_prompts(prompt_sets: tuple[str, ...], enabled: bool) -> tuple[str, ...]:
    """The prompt sets of a method, with the negative set if the branch is switched on."""
    return (*prompt_sets, PROMPTS) if enabled else prompt_sets


class CarriesNegative(Head):
    """A head that can carry the branch, as `negative`; None: the plain method. Stands before the head's other base."""

    negative: NegativeBranch | None

    def parameter_groups(self) -> Groups:
        """Those of the method; the branch has a learning rate of its own."""
        return with_negative(super().parameter_groups(), self.negative)

    def deployed_negative(self) -> NegativeBranch | None:
        """The branch as a prediction needs it."""
        return None if self.negative is None else self.negative.deployed()


class OffersNegative:
    """What a method declares whose config node has a node NEGATIVE. Stands before `VLTrainer`."""

    prompt_sets: tuple[str, ...]

    @classmethod
    def prompt_sets_of(cls, cfg: Mapping[str, Any]) -> tuple[str, ...]:
        """The negative templates too, where NEGATIVE is on."""
        return negative_prompts(cls.prompt_sets, cfg["NEGATIVE"]["ENABLED"])
