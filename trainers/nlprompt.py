"""NLPrompt: CoOp that divides the labels into right and wrong ones before each epoch, by optimal transport.

    t_c    = norm(text([v_1] ... [v_M] [class c] .)),   p_i = softmax(s f_i . t)
    Q      = argmin <Q, -X> - eps H(Q),  sum_c Q_ic = 1 / N,  sum_i Q_ic = b / C,   X = log softmax(p)
    right  = images among the floor(b N) with the largest max_c Q_ic, where argmax_c Q_ic is the label
    loss   = CE of right images, and mean (1 - (p_y + 1e-6)^q) / q of all others, q = 1

Both towers are frozen. M context vectors of the text tower's width W are learned, which are one set for all classes.
An epoch has the batches of images with right labels first. The transport sees each image once, in the view of the
epoch.

Source: Pan et al., "NLPrompt: Noise-Label Prompt Learning for Vision-Language Models", CVPR 2025, arXiv:2412.01256, and
the authors' released code.
Differences from the authors' code: numbers are in float32, where the authors' code has half precision; the transport is
in float64, as in the authors' code. The authors' script sets eps = 0.001, at which exp(X / eps) is 0 for five classes
or more. The plan is then empty, every pseudo-label is the first class, and only the images with this label count as
right. PRESET official keeps this (REG, SHIFTED), and leaves images of a short last batch out of the division, so that
they count as wrong. PRESET repaired has the eps of the authors' defaults, 0.01, and subtracts the largest entry of each
row from X, which does not change the plan. Parity: tests/trainers/test_nlprompt.py compares losses and transport with
recorded outputs of the authors' functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.loaders import SupportLoader, seeded_generator
from simnl.fewshot.losses import generalised_cross_entropy
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

ITERATIONS, EVERY, TOLERANCE = 1000, 10, 1e-6


def transport(scores: Tensor, reg: float, budget: float = 1.0, shifted: bool = True) -> Tensor:
    """The plan of entropic optimal transport, by Sinkhorn's iterations, (N, C) float64.

    Args:
        scores: X, (N, C), the gain of an image by a class.
        reg: eps, above 0.
        budget: b; each class gets b / C, and each image has 1 / N.
        shifted: True to subtract the largest entry of each row first. The plan is the same, without underflow.
    """
    scores = scores.double()
    if shifted:
        scores = scores - scores.amax(1, keepdim=True)
    kernel, (rows, classes) = (scores / reg).exp(), scores.shape
    u, v = scores.new_full((rows,), 1 / rows), scores.new_full((classes,), 1 / classes)
    for step in range(ITERATIONS):
        before, received = (u, v), kernel.T @ u
        v = (budget / classes) / received
        u = (1 / rows) / (kernel @ v)
        if (received == 0).any() or not (u.isfinite().all() and v.isfinite().all()):
            u, v = before
            break
        if step % EVERY == 0 and (v * (kernel.T @ u) - budget / classes).norm() < TOLERANCE:
            break
    return u[:, None] * kernel * v


def right_labels(plan: Tensor, labels: Tensor, budget: float = 1.0) -> Tensor:
    """Which labels (N,) equal the pseudo-label of the plan (N, C), for the floor(b N) surest images; (N,) bool."""
    sure, pseudo = plan.max(1)
    selected = torch.zeros_like(labels, dtype=torch.bool)
    selected[sure.sort(descending=True, stable=True).indices[: int(len(labels) * budget)]] = True
    return selected & (pseudo == labels)


class DividedLoader(SupportLoader):
    """Batches of the images whose labels count as right, and then batches of the others.

    Attributes:
        right: (N,) bool. All rows of a batch have the same value, which the batch holds as `right`.
    """

    right: Tensor

    def seen(self) -> Tensor:
        """The rows that a pass over the images reads: all rows, or those of complete batches (`drop_last`)."""
        return self._order("division")[: SupportLoader.__len__(self) * self.batch_size]

    def _order(self, purpose: str) -> Tensor:
        generator = seeded_generator(self.seed, purpose, self.epoch)
        return torch.randperm(len(self.labels), generator=generator).to(self.labels.device)

    def _parts(self) -> list[tuple[Tensor, bool]]:
        """The rows of each batch, and whether their labels count as right."""
        order, parts = self._order("train order"), []
        for right in (True, False):
            batches = order[self.right[order] == right].split(self.batch_size)
            short = len(batches) > 1 and len(batches[-1]) < self.batch_size
            kept = batches[:-1] if self.drop_last and short else batches
            parts += [(rows, right) for rows in kept if len(rows)]
        return parts

    def __len__(self) -> int:
        return len(self._parts()) if hasattr(self, "right") else super().__len__()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        view = self.epoch % len(self.features)
        for rows, right in self._parts():
            yield {"img": self.features[view, rows], "label": self.labels[rows], "index": rows, "right": right}


class NLPromptHead(PromptHead):
    """Learned prompts with a loss for each part.

    Args:
        q: the exponent of the loss for labels that may be wrong.
        inputs: the arguments of `PromptHead`.
    """

    def __init__(self, q: float, **inputs):
        super().__init__(**inputs)
        if not 0 < q <= 1:
            raise ValueError(f"TRAINER.NLPROMPT.GCE_Q is {q}, but it must be above 0 and at most 1 (authors: 1).")
        self.q = q

    def losses(self, features: Tensor, labels: Tensor, right: bool = True) -> dict[str, Tensor]:
        """Cross-entropy for a batch with right labels, or the other loss for a batch whose labels may be wrong."""
        logits = self(features)
        if right:
            return {"ce": F.cross_entropy(logits, labels)}
        return {"gce": generalised_cross_entropy(logits, labels, self.q)}


@TRAINER_REGISTRY.register()
class NLPrompt(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)); CE where optimal transport agrees with the label, else MAE
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' functions (losses, transport); the text tower written out
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX, CTX_INIT, POSITION, CHUNK: as in CoOp. REG: eps. BUDGET: b. GCE_Q: q. SHIFTED: see `transport`."""
        node = CN({"N_CTX": 16, "CTX_INIT": "", "POSITION": "end", "CHUNK": 256})
        node.REG, node.SHIFTED, node.BUDGET, node.GCE_Q = 0.01, True, 1.0, 1.0
        return node

    def build_train_loader(self, task: FewShotTask) -> DividedLoader:
        """A loader of two parts."""
        return self.inputs.support_loader(self.support, DividedLoader)

    def build_head(self, task: FewShotTask, cfg: CN) -> NLPromptHead:
        """Prompts of the class names around the initial context."""
        return NLPromptHead(q=cfg.GCE_Q, **self.prompt_inputs(task, cfg))

    @torch.no_grad()
    def before_epoch(self) -> None:
        """Divide the images with the current head."""
        super().before_epoch()
        loader, cfg = self.train_loader_x, self.node
        rows = loader.seen()
        p = self.head(loader.features[self.epoch % len(loader.features), rows]).softmax(1)
        plan = transport(p.log_softmax(1), cfg.REG, cfg.BUDGET, cfg.SHIFTED)
        loader.right = torch.zeros_like(loader.labels, dtype=torch.bool)
        loader.right[rows] = right_labels(plan, loader.labels[rows], cfg.BUDGET)
