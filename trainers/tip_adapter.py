"""Tip-Adapter and Tip-Adapter-F: a cache of support features, added to the zero-shot classifier.

    logits = s f W^T + alpha sum_n exp(-beta (1 - f.k_n)) onehot(y_n)

f is the unit image feature, W the text classifier of the templates, and s the model's logit scale. k_n is the unit mean
over the augmented views of support image n. Tip-Adapter learns nothing. Tip-Adapter-F learns the keys (N, D) with
cross-entropy at the initial alpha and beta; they start at the keys of the cache, and need not keep unit length. Both
methods search alpha and beta afterwards. Tip-Adapter-F can carry SimNL's negative branch (`NEGATIVE` in its config
node, simnl/fewshot/negative.py), whose negative cache then has the same alpha and beta.

Source: Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022,
arXiv:2207.09519 (arXiv:2111.03930), and the authors' released code.
Differences from the authors' code: the epoch of Tip-Adapter-F is chosen on the images of the protocol. The authors'
code chooses it on the test images, and reports the better of the accuracies before and after the search; PROTOCOL
oracle-test comes nearest to this. ImageNet is searched on the images of the protocol, and not on the test images. Keys
are learned in float32. alpha and beta have the names of the authors' code.
Parity: tests/parity/test_tip_adapter.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.adapters import cache_terms
from simnl.fewshot.cache_head import CacheHead
from simnl.fewshot.head import Terms
from simnl.fewshot.negative import CarriesNegative, NegativeBranch, NegativeOptions, OffersNegative
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class TipAdapterHead(CarriesNegative, CacheHead):
    """Text classifier plus cache.

    Args:
        negative: the negative branch; None for the plain method.
        inputs: the arguments of `CacheHead`, with learn_keys for Tip-Adapter-F, beta and alpha.
    """

    def __init__(self, *, negative: NegativeBranch | None = None, **inputs):
        super().__init__(**inputs)
        self.negative = negative

    def terms(self, features: Tensor) -> Terms:
        """Text logits (B, C) and affinities f.k (B, N), and the terms of the negative branch, if there is one."""
        f = F.normalize(features, dim=-1)
        terms: dict[str, Any] = {"text": self.logit_scale * f @ self.text.T, "affinity": f @ self.cache_keys.T}
        if self.negative is not None:
            terms["negative text"] = self.negative.text.logits(f)
            if self.negative.cache is not None:
                (terms["negative cache"],) = cache_terms([self.negative.cache], f)
        return terms

    def stage(self, terms: Terms, *, beta: float) -> Mapping[str, Tensor]:
        """Cache logits (B, C) at a sharpness beta, the text logits, and those of the negative branch."""
        stage = {name: terms[name] for name in ("text", "negative text") if name in terms}
        stage["cache"] = self.class_sum(self.weights(terms["affinity"], beta))
        if self.negative is not None and self.negative.cache is not None:
            stage["negative cache"] = self.negative.cache.logits(terms["negative cache"], beta)
        return stage

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = text + alpha cache; the negative branch adds to both terms."""
        base, slope = stage["text"], stage["cache"]
        if "negative text" in stage:
            base = base + stage["negative text"]
        if "negative cache" in stage:
            slope = slope + stage["negative cache"]
        return base, slope

    def deployed(self) -> TipAdapterHead:
        """The head with learned keys and the negative branch as constants."""
        if not list(self.parameters()):
            return self
        return TipAdapterHead(
            text=self.text,
            cache_keys=self.cache_keys,
            labels=self.labels,
            logit_scale=self.logit_scale,
            negative=self.deployed_negative(),
            **self.hparams,
        )


@TRAINER_REGISTRY.register()
class TipAdapter(VLTrainer):
    """The training-free cache.

    Table row:
        prediction: s f·t_c + α Σ_n exp(-β (1 - f·k_n)) onehot(y_n)
        learned: nothing; a cache of support features
        parameters: 0
        checked: authors' code, K = 1 … 16
    """

    training_free = True
    learn_keys = False

    @classmethod
    def default_cfg(cls) -> CN:
        """Initial hyper-parameters and the search grid."""
        grid = CN({"BETA": [0.1, 12.0, 200], "ALPHA": [0.1, 10.0, 20]})
        return CN({"BETA": 1.0, "ALPHA": 1.17, "GRID": grid})

    def build_head(self, task: FewShotTask, cfg: CN) -> TipAdapterHead:
        """Give the head its tensors and numbers."""
        return TipAdapterHead(
            **task.cache_inputs("template"),
            learn_keys=self.learn_keys,
            **TipAdapterHead.hparams_of(cfg),
            negative=NegativeBranch.of(task, cfg.NEGATIVE) if self.learn_keys else None,
        )


@TRAINER_REGISTRY.register()
class TipAdapterF(OffersNegative, TipAdapter):
    """Tip-Adapter with learned keys.

    Table row:
        prediction: s f·t_c + α Σ_n exp(-β (1 - f·k_n)) onehot(y_n)
        learned: the cache's keys k_n
        parameters: C*K*D
        checked: authors' code, K = 1 … 16
    """

    training_free = False
    learn_keys = True

    @classmethod
    def default_cfg(cls) -> CN:
        """The keys of Tip-Adapter, and the negative branch, which is off."""
        node = super().default_cfg()
        node.NEGATIVE = CN(NegativeOptions.defaults(without=("alpha", "beta")))
        return node
