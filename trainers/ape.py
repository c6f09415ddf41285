"""APE and APE-T: a cache on selected feature channels (APE), and residuals that are learned on such channels (APE-T).

Channels. The Q channels with the largest J_d = -w1 S_d + w2 Var_c(W_cd) are kept. S_d is the mean product, in channel
d, of two unit vectors of different classes. The vectors of a class are its text and its cache keys in APE, and its text
alone in APE-T. Where A_i is the sum of the M_i vectors of class i,

    S = ((sum_i A_i)^2 - sum_i A_i^2) / ((sum_i M_i)^2 - sum_i M_i^2)     elementwise: O(C M D), not O(C^2 M^2 D)

APE learns nothing. f', k' and W' are restricted to the Q channels and brought to unit length again.

    logits = s f W^T + alpha sum_n exp(-beta (1 - f'.k'_n)) exp(gamma KL_n) onehot(y_n)
    KL_n   = log2((1 + eps) / (p_n + eps)),   p_n = softmax(k'_n W'^T)[y_n],   eps = 1e-6

So a support image weighs more if its text does not explain it.

APE-T learns one residual r_c (C, Q) per class, which its text and its keys share and which starts at zero, and one
weight o_n (N,) per key, which starts at one. Products are taken over all D channels (r_c is zero outside the Q
channels), and nothing is brought to unit length again.

    logits = s f.(W_c + r_c) + alpha sum_n o_n exp(-beta (1 - f.(k_n + r_{y_n}))) onehot(y_n),   loss: cross-entropy

f is the unit image feature, W the text classifier (templates and CuPL sentences in one pool), and k_n are the cache
keys.

Source: Zhu et al., "Not All Features Matter: Enhancing Few-shot CLIP with Adaptive Prior Refinement", ICCV 2023,
arXiv:2304.01195, and the authors' released code.
Differences from the authors' code: rows are paired with classes by their label; the authors' code pairs them by block,
in order of first appearance, so that on Flowers102 and StanfordCars the text and the residual of a class meet the keys
of another class. Classes may have unequal numbers of rows. The number of channels of APE-T is that of training; the
authors' code mixes two numbers and runs only where they are equal. ImageNet is selected on the images of the protocol,
and not on the test images. Parameters are in float32. The preset `official` of configs/trainers/APET.yaml has what else
moves figures.
Parity: tests/parity/test_ape.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache import class_expand
from simnl.fewshot.cache_head import CacheHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

WIDTH = 1024  # width of the RN50 features, for which the authors give their numbers of channels
KL_EPS = 1e-6


def inter_class_similarity(vectors: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """The mean elementwise product of two vectors of different classes, over all such pairs: S of APE, (D,).

    Args:
        vectors: (M, D).
        classes: (M,) int64, any order; at least two classes are present.
    """
    sums = vectors.new_zeros(num_classes, vectors.shape[1]).index_add(0, classes, vectors)
    counts = torch.bincount(classes, minlength=num_classes).to(vectors.dtype)
    pairs = counts.sum().square() - counts.square().sum()
    return (sums.sum(0).square() - sums.square().sum(0)) / pairs


def select_channels(similarity: Tensor, text: Tensor, weights: tuple[float, float], number: int) -> Tensor:
    """The channels that differ most between classes: the top `number` of -w1 S + w2 Var_c(W), as indices.

    Args:
        similarity: S, (D,).
        text: W, (C, D), C >= 2; its variance over classes is the unbiased one.
        weights: (w1, w2).
        number: Q, 1 to D.

    Raises:
        ValueError: the number is out of range.
    """
    if not 1 <= number <= len(similarity):
        raise ValueError(
            f"{number} feature channels were asked for (TRAINER.APE.CHANNELS, TRAINER.APET.CHANNELS, scaled from "
            f"{WIDTH} to the model's width), but there are {len(similarity)}. Choose between 1 and {WIDTH}."
        )
    criterion = -weights[0] * similarity + weights[1] * text.var(dim=0)
    return criterion.topk(number).indices


def kl_weights(keys: Tensor, text: Tensor, labels: Tensor) -> Tensor:
    """KL_n = log2((1 + eps) / (p_n + eps)), p_n the probability of row n's label, without a temperature: (N,).

    keys: (N, Q) and text: (C, Q), unit rows; labels: (N,).
    """
    p = (keys @ text.T).softmax(-1).gather(1, labels[:, None])[:, 0]
    return torch.log2((1 + KL_EPS) / (p + KL_EPS))


class APEHead(CacheHead):
    """Training-free: text classifier plus a cache on refined channels.

    Args:
        text, cache_keys, labels: as for `CacheHead`, on all channels. The keys that the head holds are refined, (N, Q).
        num_channels: Q.
        weights: (w1, w2) of the channel criterion.
        channels: (Q,) int64, if they are selected already; else the head selects them.
        inputs: the other arguments of `CacheHead`, with beta, alpha and gamma.
    """

    similarity: Tensor
    channels: Tensor
    kl: Tensor

    MIXING = ("gamma",)
    TERMS = {"weights": "cache"}

    def __init__(
        self,
        *,
        text: Tensor,
        cache_keys: Tensor,
        labels: Tensor,
        num_channels: int,
        weights: tuple[float, float],
        channels: Tensor | None = None,
        **inputs: Any,
    ):
        owners = torch.cat([torch.arange(len(text), device=labels.device), labels])
        similarity = inter_class_similarity(torch.cat([text, cache_keys]), owners, len(text))
        channels = select_channels(similarity, text, weights, num_channels) if channels is None else channels
        refined = F.normalize(cache_keys[:, channels], dim=-1)
        super().__init__(text=text, cache_keys=refined, labels=labels, **inputs)
        kl = kl_weights(refined, F.normalize(text[:, channels], dim=-1), labels)
        for name, tensor in (("similarity", similarity), ("channels", channels), ("kl", kl)):
            self.frozen_buffer(name, tensor)

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Text logits (B, C) on all channels, affinities f'.k' (B, N) on the refined ones."""
        f = F.normalize(features, dim=-1)
        refined = F.normalize(f[:, self.channels], dim=-1)
        return {"text": self.logit_scale * f @ self.text.T, "affinity": refined @ self.cache_keys.T}

    def arguments(self) -> dict[str, Any]:
        """The arguments with the channels, because another machine might choose others among nearly equal ones."""
        return super().arguments() | {"channels": self.channels}

    def stage(self, terms: Mapping[str, Tensor], *, beta: float) -> Mapping[str, Tensor]:
        """exp(-beta (1 - f'.k')) (B, N), and the text logits."""
        return {"text": terms["text"], "weights": self.weights(terms["affinity"], beta)}

    def weighed(self, weights: Tensor, gamma: float) -> Tensor:
        """Rows (B, N) weighed by exp(gamma KL)."""
        return weights * torch.exp(gamma * self.kl)

    def row_weights(self, features: Tensor) -> Tensor:
        """See the base class."""
        stage = self.stage(self.terms(features), beta=self.hparams["beta"])
        return self.weighed(stage["weights"], self.hparams["gamma"])

    def affine(self, stage: Mapping[str, Tensor], *, gamma: float) -> tuple[Tensor, Tensor]:
        """logits = text + alpha cache; gamma weighs the rows of the cache."""
        return stage["text"], self.class_sum(self.weighed(stage["weights"], gamma))


class APETHead(CacheHead):
    """Learned: `residual` (C, Q), zero at the start, and `value_weights` (N,), one at the start.

    Args:
        num_channels: Q.
        weights: (w1, w2) of the channel criterion.
        channels: (Q,) int64, if they are selected already; else the head selects them.
        inputs: the arguments of `CacheHead`, with beta and alpha.
    """

    similarity: Tensor
    channels: Tensor

    def __init__(
        self, *, num_channels: int, weights: tuple[float, float], channels: Tensor | None = None, **inputs: Any
    ):
        super().__init__(**inputs)
        text = self.text
        similarity = inter_class_similarity(text, torch.arange(len(text), device=text.device), len(text))
        self.frozen_buffer("similarity", similarity)
        channels = select_channels(similarity, text, weights, num_channels) if channels is None else channels
        self.frozen_buffer("channels", channels)
        self.residual = nn.Parameter(text.new_zeros(len(text), num_channels))
        self.value_weights = nn.Parameter(text.new_ones(len(self.labels)))

    def arguments(self) -> dict[str, Any]:
        """The arguments with the channels, because the residual that was learned belongs to them."""
        return super().arguments() | {"channels": self.channels}

    @property
    def num_products(self) -> int:
        """C with the text classifier and N with the keys."""
        return len(self.text) + len(self.cache_keys)

    def products(self, features: Tensor) -> Tensor:
        """Products with the frozen rows, first the text classifier and then the keys, (B, C + N)."""
        return torch.cat(self._products(F.normalize(features, dim=-1)), dim=1)

    def _products(self, f: Tensor) -> tuple[Tensor, Tensor]:
        return f @ self.text.T, f @ self.cache_keys.T

    def terms(self, features: Tensor, products: Tensor | None = None) -> Mapping[str, Tensor]:
        """Text logits (B, C) and affinities (B, N); f.r_c is common to both."""
        f, rows = F.normalize(features, dim=-1), (len(self.text), len(self.cache_keys))
        text, dots = self._products(f) if products is None else products.split(rows, dim=1)
        shift = f[:, self.channels] @ self.residual.T
        return {
            "text": self.logit_scale * (text + shift),
            "affinity": dots + class_expand(shift, self.labels, self.shots),
        }

    def stage(self, terms: Mapping[str, Tensor], *, beta: float) -> Mapping[str, Tensor]:
        """Cache logits (B, C) at a sharpness beta, and the text logits."""
        return {"text": terms["text"], "cache": self.class_sum(self.weights(terms["affinity"], beta))}

    def weights(self, affinity: Tensor, beta: float) -> Tensor:
        """o_n exp(-beta (1 - a)) of affinities a, (B, N)."""
        return self.value_weights * super().weights(affinity, beta)

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """logits = text + alpha cache."""
        return stage["text"], stage["cache"]


def shared_arguments(task: FewShotTask, cfg: CN) -> dict[str, Any]:
    """The arguments of both heads."""
    inputs = task.cache_inputs("template", *(["cupl"] if "cupl" in task.prompts else []))
    return inputs | {
        "num_channels": round(cfg.CHANNELS * inputs["text"].shape[1] / WIDTH),
        "weights": tuple(cfg.WEIGHTS),
    }


@TRAINER_REGISTRY.register()
class APE(VLTrainer):
    """The training-free method.

    Table row:
        prediction: Tip-Adapter on Q channels, keys weighed by how little their text explains
        learned: nothing
        parameters: 0
        checked: authors' code, K = 1, 2, 4
    """

    training_free = True
    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """Channels (of 1024), weights of the criterion, initial hyper-parameters and the search grid."""
        grid = CN({"BETA": [0.1, 7.0, 200], "ALPHA": [0.1, 7.0, 20], "GAMMA": [0.0, 1.0, 20]})
        return CN({"CHANNELS": 800, "WEIGHTS": [0.5, 0.5], "BETA": 1.0, "ALPHA": 1.0, "GAMMA": 0.1, "GRID": grid})

    def build_head(self, task: FewShotTask, cfg: CN) -> APEHead:
        """Give the head its tensors and numbers."""
        return APEHead(**shared_arguments(task, cfg), **APEHead.hparams_of(cfg))


@TRAINER_REGISTRY.register()
class APET(VLTrainer):
    """The trained method.

    Table row:
        prediction: s f·(t_c + r_c) + α Σ_n o_n exp(-β (1 - f·(k_n + r_y)))
        learned: residuals r_c on Q channels, weights o_n
        parameters: C*Q + C*K
        checked: authors' code, K = 1 … 16
    """

    optional_prompt_sets = ("cupl",)

    @classmethod
    def default_cfg(cls) -> CN:
        """The keys of APE, without gamma."""
        grid = CN({"BETA": [0.1, 7.0, 200], "ALPHA": [0.1, 7.0, 20]})
        return CN({"CHANNELS": 900, "WEIGHTS": [0.2, 0.8], "BETA": 1.0, "ALPHA": 1.0, "GRID": grid})

    def build_head(self, task: FewShotTask, cfg: CN) -> APETHead:
        """Give the head its tensors and numbers."""
        return APETHead(**shared_arguments(task, cfg), **APETHead.hparams_of(cfg))
