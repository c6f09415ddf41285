"""LP++: a linear probe whose class weights are blended with text, and whose step sizes follow from the data.

    logits = f . w_c + bias_c + alpha_c (f . t_c)      f the unit image feature; no logit scale
    loss   = CE

The unit text classifier t is frozen. w (C, D), bias (C,) and one blending factor per class, alpha (C,), are learned. At
the start w_c is the sum of the unit support features of the class, alpha_c = 250 mean_i (f_i . t_yi), and bias is 0, or
random (INIT_BIAS).

Training is block descent on the full batch of N features F: w and bias move in each iteration (with momentum 0.9), and
alpha moves in each tenth, by a plain step. Step sizes follow from bounds on the curvature, so that none is tuned:

    eta_w = 4 N / eigmax(F^T F),    eta_alpha = N / (4 max_c sum_i (f_i . t_c)^2)      i over the rows of all classes

With V views of each image, sums over i are means over views. Training reads one view of all images per iteration.

Source: Huang et al., "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", CVPR 2024, arXiv:2404.02285, and the
authors' released code.
Differences from the authors' code: three quirks of that code are switches, which the preset `official` turns on. The
code never clears the gradient of alpha, so that its step at iteration 10 m sums the gradients of all 10 m iterations
(ALPHA_GRADIENT). The bias starts at uniform numbers within 1 / sqrt(D) (INIT_BIAS). Of equally good iterations the last
one is taken (SELECTION.TIES). Under both presets numbers are in float32, where the authors' code has half precision,
the random bias follows from the run's seed, and the iteration is selected on the images of the run's protocol, which
are min(K, 4) per class by default, where the authors have K per class.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results. Formulas and
steps are checked in tests/trainers/test_lp_plus_plus.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.cache import class_sum
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

ALPHA_GRADIENTS = ("current", "accumulated")
INIT_BIASES = ("zeros", "random")


def initial_bias(rule: str, num_classes: int, width: int, seed: int) -> Tensor:
    """The initial bias (C,): zeros, or random numbers, uniform within 1 / sqrt(D) as in PyTorch's linear layers.

    Raises:
        ValueError: the rule is unknown.
    """
    check_choice("TRAINER.LPPLUSPLUS.INIT_BIAS", rule, INIT_BIASES)
    if rule == "zeros":
        return torch.zeros(num_classes)
    return (2 * torch.rand(num_classes, generator=seeded_generator(seed, "bias")) - 1) / width**0.5


class LPPlusPlusHead(Head):
    """The blended probe. Learned: `weight` (C, D), `bias` (C,), `alpha` (C,).

    Args:
        text: t, unit rows, (C, D).
        features: raw features of V views of the support images, (V, N, D).
        labels: (N,) int64.
        alpha_scale: the initial alpha, divided by the mean cosine of an image with its label's text.
        bias: the initial biases, (C,); None for zeros.
    """

    text: Tensor

    def __init__(self, text: Tensor, features: Tensor, labels: Tensor, alpha_scale: float, bias: Tensor | None = None):
        super().__init__()
        classes, views = len(text), len(features)
        unit = F.normalize(features, dim=-1)
        cosines = (unit * text[labels]).sum(-1)  # (V, N)
        self.frozen_buffer("text", text)
        self.weight = nn.Parameter(class_sum(unit.mean(0).T, labels, classes, None).T.contiguous())
        self.bias = nn.Parameter(text.new_zeros(classes) if bias is None else bias.to(text))
        self.alpha = nn.Parameter(alpha_scale * cosines.mean() * text.new_ones(classes))
        rows = unit.flatten(0, 1).double()
        curvature = torch.linalg.eigvalsh(rows.T @ rows)[-1].item() / views
        squares = sum((view @ text.T).square().sum(0) for view in unit).max().item() / views
        self.step_sizes = 4 * len(labels) / curvature, len(labels) / (4 * squares)
        self.forget_arguments()  # so that a head file does not hold the features; see `deployed`

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        f = F.normalize(features, dim=-1)
        return f @ self.weight.T + self.bias + self.alpha * (f @ self.text.T)

    def deployed(self) -> ClassifierHead:
        """One classifier, w_c + alpha_c t_c, and the bias."""
        return ClassifierHead(self.weight + self.alpha[:, None] * self.text, 1.0, self.bias)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The two blocks with their step sizes, as factors on a learning rate of 1."""
        return [(self.step_sizes[0], [self.weight, self.bias]), (self.step_sizes[1], [self.alpha])]


class BlockDescent(torch.optim.Optimizer):
    """Gradient descent in blocks: each parameter group has its own period.

    Args:
        groups: parameter groups with `lr`, `momentum` (0: none), `period` (a step in every period-th iteration) and
            `accumulate` (True if the gradient of a step is the sum over all iterations so far).
    """

    def __init__(self, groups: list[dict]):
        super().__init__(groups, {"lr": 1.0, "momentum": 0.0, "period": 1, "accumulate": False})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """One iteration."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                gradient = p.grad
                if group["accumulate"]:
                    gradient = state["sum"] = state.get("sum", 0) + gradient
                if group["momentum"]:
                    gradient = state["velocity"] = group["momentum"] * state.get("velocity", 0) + gradient
                if state["step"] % group["period"] == 0:
                    p.sub_(group["lr"] * gradient)


@TRAINER_REGISTRY.register()
class LPPlusPlus(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: f·(w_c + α_c t_c) + bias_c
        learned: a classifier, a text weight per class
        parameters: C*D + 2*C
        checked: authors' code, once; formula
    """

    revision = 2  # 1: the step size of alpha was too large by a factor of about half the classes

    @classmethod
    def default_cfg(cls) -> CN:
        """ALPHA_SCALE: of the initial alpha. ALPHA_PERIOD: iterations per step of alpha. Others: see the module."""
        return CN({"ALPHA_SCALE": 250.0, "ALPHA_PERIOD": 10, "ALPHA_GRADIENT": "current", "INIT_BIAS": "zeros"})

    def build_head(self, task: FewShotTask, cfg: CN) -> LPPlusPlusHead:
        """Make the probe with initial values from the data."""
        text, features = task.text_features("template"), task.support_features.to(task.device)
        num_classes, width = text.shape
        bias = initial_bias(cfg.INIT_BIAS, num_classes, width, self.cfg.SEED)
        return LPPlusPlusHead(text, features, task.support_labels, cfg.ALPHA_SCALE, bias)

    def build_optim(self, groups: list[dict]) -> BlockDescent:
        """An optimiser with momentum for w and bias, and a period for alpha."""
        cfg = self.node
        check_choice("TRAINER.LPPLUSPLUS.ALPHA_GRADIENT", cfg.ALPHA_GRADIENT, ALPHA_GRADIENTS)
        if cfg.ALPHA_PERIOD < 1:
            raise ValueError(f"TRAINER.LPPLUSPLUS.ALPHA_PERIOD is {cfg.ALPHA_PERIOD}, but it must be 1 or more.")
        probe, alpha = groups
        rhythm = {"period": cfg.ALPHA_PERIOD, "accumulate": cfg.ALPHA_GRADIENT == "accumulated"}
        return BlockDescent([{**probe, "momentum": self.cfg.OPTIM.MOMENTUM}, {**alpha, **rhythm}])
