"""JoAPR: CoOp that weights its images by a mixture of two Gaussians on their losses, and refines their labels.

    t_c = norm(text([v_1] ... [v_M] [class c] .)),   p_i = softmax(s f_i . t),   H_i = -sum_c p_ic log p_ic

For WARMUP epochs the loss is CE - ALPHA1 mean_i H_i. Before each later epoch:

    l_i   = CE_i + H_i, scaled to [0, 1] by the smallest and the largest, and averaged over the last 5 such epochs
    P_i   = posterior of the smaller mean in a mixture of two Gaussians on l;  theta = 1 - #{P_i > theta} / N
    right = l_i < (where the two densities meet, see `crossing`)  or  P_i > theta
    w_i   = P_i, times p_iy from the second of these epochs on

    target of i = w_i onehot(y_i) + (1 - w_i) p~_i where right, else p~_i;  sharpened: norm_1(target^2)
    loss  = soft CE of mixed features with mixed targets + ALPHA2 sum_c 1/C log((1/C) / mean p_c)

p~ is the mean of p over two views. Pairs are mixed by a share of max(b, 1 - b), b ~ Beta(MIXUP, MIXUP). Both towers are
frozen. M context vectors of the text tower's width W are learned, which are one set for all classes.

Source: Guo and Gu, "JoAPR: Cleaning the Lens of Prompt Learning for Vision-Language Models", CVPR 2024
(https://github.com/yunncheng/JoAPR), its README, and the authors' released code.
Differences from the authors' code: unit features are mixed and brought to unit length, where the authors' code mixes
pixels. A batch has right and wrong labels together. Losses before an epoch are those of the mean view, as in the cache
keys, where the authors' code has the test transform. The mixture starts from a generator that depends on the run's seed
and the epoch, where the authors' code has numpy's global one. The authors' README has other warm-ups, ALPHA1 and ALPHA2
per data set and, in part, per kind and rate of the wrong labels, which are not known in practice. PRESET official has
the values for all or most rates.
Parity: tests/trainers/test_joapr.py compares the entropy and three divisions with recorded outputs of their functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.loaders import SupportLoader, seeded_generator
from simnl.fewshot.losses import negative_entropy
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer
from simnl.sealed import read_sealed, write_sealed

HISTORY = 5  # epochs over which losses are averaged


def scaled_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus entropy of each row, scaled to [0, 1], (N,). logits: (N, C); labels: (N,) int64."""
    log_p = logits.log_softmax(1)
    loss = F.nll_loss(log_p, labels, reduction="none") - (log_p.exp() * log_p).sum(1)
    return (loss - loss.min()) / (loss.max() - loss.min())


def crossing(means: tuple[float, float], variances: tuple[float, float]) -> float:
    """The loss below which a label is right: a root of A x^2 + B x + C, which has variances in the place of deviations.

    `means` and `variances` are those of the right and of the wrong labels. NaN if there is no root; no loss is below
    NaN.
    """
    (m, n), (v, w) = means, variances
    a, b = w**2 - v**2, 2 * (n * v**2 - m * w**2)
    c = m**2 * w**2 - n**2 * v**2 + 2 * v**2 * w**2 * math.log(2 * v / w + 1e-8)
    inside = b**2 - 4 * a * c
    return (-b + math.sqrt(inside)) / (2 * a + 1e-10) if inside >= 0 else math.nan


@dataclass(frozen=True)
class Division:
    """A division of the images: the posterior P (N,), which labels are right (N,) bool, and the next bound theta."""

    posterior: np.ndarray
    right: np.ndarray
    theta: float


def divide(losses: np.ndarray, theta: float, state: np.random.RandomState) -> Division:
    """Divide images by their losses (N,) and the last bound theta. `state` gives the initial mixture."""
    from sklearn.mixture import GaussianMixture  # imported here because it takes most of a second

    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=state)
    mixture.fit(losses[:, None])
    small, large = np.argsort(mixture.means_[:, 0])
    posterior = mixture.predict_proba(losses[:, None])[:, small]
    means, variances = mixture.means_[:, 0], mixture.covariances_[:, 0, 0]
    bound = crossing((means[small], means[large]), (variances[small], variances[large]))
    theta = 1 - float((posterior > theta).sum()) / len(losses)
    return Division(posterior, (losses < bound) | (posterior > theta), theta)


class RefiningLoader(SupportLoader):
    """Batches of two views, with the result of the last division for their rows, if there is one.

    Attributes:
        right: (N,) bool; weights: w, (N,) float32; None until they are set.
        mixup: the parameter of the Beta distribution of shares.
    """

    right: Tensor | None = None
    weights: Tensor | None = None
    mixup: float = 0.001

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = seeded_generator(self.seed, "mixup", self.epoch)
        draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        for batch in super().__iter__():
            if self.right is not None and self.weights is not None:
                rows, device = batch["index"], batch["label"].device
                batch["second"] = self.features[(self.epoch + 1) % len(self.features), rows]
                batch["right"], batch["weights"] = self.right[rows], self.weights[rows]
                batch["partners"] = torch.randperm(2 * len(rows), generator=generator).to(device)
                share = draws.beta(self.mixup, self.mixup)
                batch["share"] = torch.tensor(max(share, 1 - share), device=device, dtype=torch.float32)
            yield batch


class JoAPRHead(PromptHead):
    """Learned prompts with the losses of the warm-up and of the later epochs.

    Args:
        alpha1, alpha2: the weights of the entropy in the warm-up, and of the even use of classes later.
        inputs: the arguments of `PromptHead`.
    """

    def __init__(self, alpha1: float, alpha2: float, **inputs):
        super().__init__(**inputs)
        self.alpha1, self.alpha2 = alpha1, alpha2

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """The losses of the warm-up, or of a batch that `RefiningLoader` made after a division."""
        if "second" not in given:
            logits = self(features)
            return {"ce": F.cross_entropy(logits, labels), "entropy": self.alpha1 * negative_entropy(logits)}
        text, views = self.text_features(), torch.cat([features, given["second"]])
        targets = self.targets(self.logits(views, text.detach()), labels, given["right"], given["weights"])
        share, partners, f = given["share"], given["partners"], F.normalize(views, dim=-1)
        mixed = F.normalize(share * f + (1 - share) * f[partners], dim=-1)
        targets = torch.cat([targets, targets])
        logits = self.logits(mixed, text)
        mean = logits.softmax(1).mean(0)
        even = -(mean * len(mean)).log().mean()
        return {
            "ce": F.cross_entropy(logits, share * targets + (1 - share) * targets[partners]),
            "even": self.alpha2 * even,
        }

    def targets(self, logits: Tensor, labels: Tensor, right: Tensor, weights: Tensor) -> Tensor:
        """Refined labels (B, C), whose rows sum to one. logits: (2B, C), of two views; right, weights: (B,)."""
        guess = logits.softmax(1).view(2, len(labels), -1).mean(0)
        trust = (weights * right)[:, None].to(guess.dtype)
        target = (trust * F.one_hot(labels, guess.shape[1]) + (1 - trust) * guess).square()
        return target / target.sum(1, keepdim=True)


@TRAINER_REGISTRY.register()
class JoAPR(LearnsPrompts, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)); labels weighed by a mixture on their losses, and refined
        learned: context vectors of the prompt
        parameters: M*W
        checked: authors' functions (entropy, division); the text tower written out
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX, CTX_INIT, POSITION, CHUNK: as in CoOp. WARMUP: epochs. ALPHA1, ALPHA2, MIXUP: as in the formulas."""
        node = CN({"N_CTX": 16, "CTX_INIT": "", "POSITION": "end", "CHUNK": 256})
        node.WARMUP, node.ALPHA1, node.ALPHA2, node.MIXUP = 1, 0.5, 1.0, 0.001
        return node

    def build_train_loader(self, task: FewShotTask) -> RefiningLoader:
        """A loader of two views."""
        loader = self.inputs.support_loader(self.support, RefiningLoader)
        loader.mixup = self.node.MIXUP
        return loader

    def build_head(self, task: FewShotTask, cfg: CN) -> JoAPRHead:
        """Prompts of the class names around the initial context.

        Raises:
            ValueError: MIXUP is not above 0.
        """
        if cfg.MIXUP <= 0:
            raise ValueError(f"TRAINER.JOAPR.MIXUP is {cfg.MIXUP}, but it must be above 0 (authors: 0.001).")
        return JoAPRHead(alpha1=cfg.ALPHA1, alpha2=cfg.ALPHA2, **self.prompt_inputs(task, cfg))

    @property
    def state_file(self) -> Path:
        """The file with losses and theta of the last checkpoint's epoch, from which a resumed run continues."""
        return Path(self.output_dir) / "division.json"

    def before_train(self) -> None:
        """Start without losses, or with those of the checkpoint.

        Raises:
            ValueError: the checkpoint is from after the warm-up, but the losses are missing.
        """
        super().before_train()
        self.history: list[list[float]] = []
        self.theta = 0.5
        if self.start_epoch <= self.node.WARMUP:
            return
        kept = read_sealed(self.state_file) if self.state_file.is_file() else {}
        state = kept.get(str(self.start_epoch)) if isinstance(kept, dict) else None
        if state is None:
            raise ValueError(
                f"{self.state_file} does not hold the losses of epoch {self.start_epoch}, that of the checkpoint. "
                f"To train from the start, delete the checkpoints in {Path(self.output_dir) / 'head'}."
            )
        self.history, self.theta = state["losses"], state["theta"]

    @torch.no_grad()
    def before_epoch(self) -> None:
        """After the warm-up, divide the images with the current head."""
        super().before_epoch()
        if self.epoch < self.node.WARMUP:
            return
        loader, labels = self.train_loader_x, self.train_loader_x.labels
        logits = self.head(F.normalize(loader.features.mean(0), dim=-1))
        self.history = [*self.history, scaled_losses(logits, labels).tolist()][-HISTORY:]
        state = np.random.RandomState(seeded_generator(self.cfg.SEED, "mixture", self.epoch).initial_seed() % 2**32)
        found = divide(np.array(self.history).mean(0), self.theta, state)
        self.theta = found.theta
        weights = torch.tensor(found.posterior, dtype=torch.float32, device=labels.device)
        if self.epoch > self.node.WARMUP:
            weights = weights * logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
        loader.weights, loader.right = weights, torch.tensor(found.right, device=labels.device)

    def after_epoch(self) -> None:
        """Write the state for the next division before the base class writes the checkpoint."""
        number, frequency = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if number == self.max_epoch or (frequency > 0 and number % frequency == 0):
            before = read_sealed(self.state_file) if self.state_file.is_file() else {}
            last = max((n for n in before if int(n) < number), key=int, default="")  # the checkpoint that is there now
            earlier = {last: before[last]} if last else {}
            write_sealed(self.state_file, {**earlier, str(number): {"losses": self.history, "theta": self.theta}})
        super().after_epoch()
