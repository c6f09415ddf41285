"""WithNegative: SimNL's negative branch, and a cache of confident negatives, on top of any method.

BASE names the method. It is trained as if it stood alone, and what it learns does not change.

    logits = l + weight (Q + alpha N)                        l the base's logits; Q and N: simnl/fewshot/negative.py
    loss   = the base's loss + CE of (l without a gradient + the branch)

So the branch learns to correct the base. Its residuals (C, D) on the negative text and on the negative keys are
learned, at the base's learning rate times LR_FACTOR. On a base that learns nothing they stay zero. TaskRes,
Tip-Adapter-F and CoOp can carry the branch themselves (NEGATIVE in their nodes), and then learn together with it.

At test time (TEST_TIME.ENABLED, transductive), the most confident test images are evidence against their second best
class:

    logits_c -= ALPHA sum_k exp(-BETA (1 - f.k))             over the CAPACITY test images k of the least entropy whose
                                                             second best class is c

A confident image belongs to its best class and not to its second best one, so images that look like it do not belong
there either. Labels are never used, and the order of the images does not matter.

Source: the branch is of Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation with Negative Learning", WACV
2025, arXiv:2403.12964; caches of test images are of Karmanov et al., CVPR 2024, arXiv:2403.18293, whose negative cache
keeps doubtful images. Both on top of other methods are ours.
Parity: there is no official code; tests/trainers/test_with_negative.py compares with naive loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import Head, SearchableHead, Terms
from simnl.fewshot.negative import NegativeBranch, NegativeOptions, negative_prompts, with_negative
from simnl.fewshot.on_top import OnTop
from simnl.fewshot.search import Grid
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

BRANCH = "negative branch"


class NegativeOnHead(Head):
    """A head of any method with the branch added to its logits.

    Args:
        carrier: the method's head.
        branch: the negative branch.
    """

    def __init__(self, carrier: Head, branch: NegativeBranch):
        super().__init__()
        self.carrier, self.branch = carrier, branch
        self.not_exported = carrier.not_exported

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The groups of the carrier, and the branch with a learning rate of its own."""
        learns = any(p.requires_grad for p in self.branch.parameters())
        return with_negative(self.carrier.parameter_groups(), self.branch if learns else None)

    def losses(self, features: Tensor, labels: Tensor, **given: Any) -> dict[str, Tensor]:
        """The losses of the carrier, and the cross-entropy of the sum, where the carrier's logits get no gradient."""
        with torch.no_grad():
            logits = self.carrier(features)
        branch = F.cross_entropy(logits + self.branch(features), labels)
        return {**self.carrier.losses(features, labels, **given), "branch": branch}

    def forward(self, features: Tensor, **given: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C). `given` is passed to the carrier."""
        return self.carrier(features, **given) + self.branch(features)

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The terms of the carrier and of the branch."""
        return self.carrier.evidence(features) | self.branch.evidence(features)

    def deployed(self) -> Head:
        """Carrier and branch without what only training needs."""
        return beside(self.carrier.deployed(), self.branch.deployed())


class SearchableNegativeOnHead(NegativeOnHead, SearchableHead):
    """The same for a head whose hyper-parameters are searched; the search includes the branch."""

    carrier: SearchableHead

    def __init__(self, carrier: SearchableHead, branch: NegativeBranch):
        self.STAGE, self.MIXING, self.LINEAR = carrier.STAGE, carrier.MIXING, carrier.LINEAR
        nn.Module.__init__(self)
        self.transduction = None
        self.carrier, self.branch = carrier, branch
        self.not_exported, self.search_width = carrier.not_exported, carrier.search_width
        self.settled, self.search_rows = carrier.settled, carrier.search_rows
        self.hparams = carrier.hparams  # both share one dict

    def terms(self, features: Tensor, **given: Tensor) -> Terms:
        """The tensors of the carrier, and the branch."""
        return {**self.carrier.terms(features), BRANCH: self.branch(features)}

    def stage(self, terms: Terms, **sharpness: float) -> dict[str, Tensor]:
        """The tensors of the carrier, and the branch."""
        own = {name: value for name, value in terms.items() if name != BRANCH}
        return {**self.carrier.stage(own, **sharpness), BRANCH: terms[BRANCH]}

    def affine(self, stage: Any, **mixing: float) -> tuple[Tensor, Tensor]:
        """Base and slope of the carrier, with the branch added to the base."""
        base, slope = self.carrier.affine({name: value for name, value in stage.items() if name != BRANCH}, **mixing)
        return base + stage[BRANCH], slope


def beside(carrier: Head, branch: NegativeBranch) -> NegativeOnHead:
    """The head of a method with the branch."""
    if isinstance(carrier, SearchableHead):
        return SearchableNegativeOnHead(carrier, branch)
    return NegativeOnHead(carrier, branch)


class ConfidentNegatives(nn.Module):
    """The evidence of confident test images against their second best class.

    Args:
        capacity: the number of images per class, 1 or more.
        alpha, beta: the weight, above 0, and the sharpness.
    """

    def __init__(self, capacity: int, alpha: float, beta: float):
        super().__init__()
        if capacity < 1 or alpha <= 0:
            raise ValueError(
                "TRAINER.WITHNEGATIVE.TEST_TIME needs a CAPACITY of 1 or more and an ALPHA above 0, but they are "
                f"{capacity} and {alpha}. TEST_TIME.ENABLED switches the cache off."
            )
        self.capacity, self.alpha, self.beta = capacity, alpha, beta

    def kept(self, logits: Tensor) -> Tensor:
        """Whether image m is in the cache of class c, (M, C) bool. logits: (M, C), C > 1."""
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
        second = F.one_hot(logits.topk(2, dim=1).indices[:, 1], logits.shape[1]).bool()
        ranked = torch.where(second, entropy[:, None], torch.inf)
        chosen = ranked.argsort(dim=0, stable=True)[: self.capacity]
        return torch.zeros_like(second).scatter(0, chosen, True) & second

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Logits (M, C) of a whole set of images, raw (M, D), from the logits without this cache."""
        f, kept = F.normalize(features, dim=-1), self.kept(logits)
        rows = kept.any(1).nonzero().squeeze(1)
        affinity = torch.exp(-self.beta * (1 - f @ f[rows].T))
        return logits - self.alpha * affinity @ kept[rows].to(logits.dtype)


@TRAINER_REGISTRY.register()
class WithNegative(OnTop):
    """The branch as a trainer: the trainer of the method in BASE, with the branch.

    Table row:
        prediction: the base's logits + w (g s (1 - f·v_c) + α Σ_n w_n exp(-β f·q_c))
        learned: what the base learns, and residuals on v and q
        parameters: D*D//2 + 2*C*D
        checked: formula
    """

    has_branch = True

    @classmethod
    def default_cfg(cls) -> CN:
        """BASE. NEGATIVE: options of the branch. TEST_TIME: options of the cache of test images."""
        branch = CN({**NegativeOptions.defaults(), "ENABLED": True})
        cache = CN({"ENABLED": False, "CAPACITY": 3, "ALPHA": 2.0, "BETA": 5.0})
        return CN({"BASE": "CLIPAdapter", "NEGATIVE": branch, "TEST_TIME": cache})

    @classmethod
    def suits(cls, base: type[VLTrainer]) -> str:
        """Refuse methods with an optimiser or a selection of their own, or with a negative branch."""
        if base.build_optim is not VLTrainer.build_optim or base.select is not VLTrainer.select:
            return "that method has an optimiser or a selection of its own, or a negative branch"
        if base.before_projection:
            return "the features of that method have another width than the negative texts"
        return super().suits(base)

    @classmethod
    def declared(cls, base: type[VLTrainer], node: CN) -> dict[str, Any]:
        """Declare that the branch uses the support, and the cache all test images."""
        sees = "transductive" if node.TEST_TIME.ENABLED else "inductive"
        uses = base.uses_support or node.NEGATIVE.ENABLED
        own = {"uses_support": uses, "inference": sees, "has_branch": node.NEGATIVE.ENABLED}
        return {**super().declared(base, node), **own}

    @classmethod
    def prompt_sets_of(cls, cfg: CN) -> tuple[str, ...]:
        """The prompt sets of the base method, and the negative templates. `cfg` is the node of the base method."""
        return negative_prompts(super().prompt_sets_of(cfg), cls.has_branch)

    def build_head(self, task: FewShotTask, cfg: CN) -> Head:
        """The head of the base method, with the branch and the cache if they are switched on."""
        node = self.own_node(self.cfg)
        head = self.base_class().build_head(self, task, cfg)
        branch = NegativeBranch.of(task, node.NEGATIVE)
        if branch is not None:
            head = beside(head, branch.requires_grad_(not self.training_free))
        if node.TEST_TIME.ENABLED:
            head.transduction = ConfidentNegatives(*(node.TEST_TIME[key] for key in ("CAPACITY", "ALPHA", "BETA")))
        return head

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Within the block, hooks of the base method see its own head."""
        whole = getattr(self, "head", None)
        self.head = getattr(whole, "carrier", whole)
        try:
            yield
        finally:
            self.head = whole

    def before_train(self) -> None:
        """Call the hook of the base method."""
        with self.as_base():
            super().before_train()

    def before_epoch(self) -> None:
        """Call the hook of the base method."""
        with self.as_base():
            super().before_epoch()

    def fit(self) -> None:
        """Call the hook of the base method. What it has chosen belongs to the whole head, too."""
        with self.as_base():
            super().fit()
            chosen = getattr(self.head, "hparams", None)
        if chosen is not None:
            self.head.hparams = chosen

    def search_space(self, cfg: CN) -> Grid | None:
        """Call the hook of the base method."""
        with self.as_base():
            return super().search_space(cfg)
