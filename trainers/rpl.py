"""RPL: an image has the class whose reciprocal point is farthest from it.

    d_c    = |x - P_c|^2                       x the image feature; P_c the reciprocal point of class c, which stands
    for "not c" logits = d / T loss   = CE + w mean_i (d_y - R)^2          R: one learned radius for all classes

CLIP is frozen. The points P (C, D) and R are learned. An image that is near all points has no known class. The scores
`distance` (max d) and `distance_msp` (max softmax(d)) say how far it is from the points.

With INIT text, x has unit length, P_c starts at minus the class's text feature, R at the mean of d_y over the
support, and T is 2 / s. The initial logits are then s + s f . t_c, i.e. those of zero-shot CLIP plus a constant. With
INIT random, x is raw, d is divided by the width D, P starts at 0.1 N(0, 1), R at 0, and T is 1.

Source: Chen et al., "Learning Open Set Network with Discriminative Reciprocal Points", ECCV 2020, arXiv:2011.00178, and
the released code of its first author (https://github.com/iCGY96/ARPL).
Differences from that code: features come from CLIP, and no network is trained below them. A class has one point; with
several, the margin of that code takes the wrong ones. `official` is INIT random, with the code's optimiser and epochs.
In that code the logits of a test are softmax(d), which gives the same class, and `distance_msp` as the score. Parity:
tests/parity/test_detectors.py compares with recorded outputs of that code; tests/trainers/test_rpl.py has the formulas
in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.head import Head
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

STARTS = ("text", "random")


class RPLHead(Head):
    """Distances from reciprocal points. Learned: `points` (C, D), `radius` ().

    Args:
        points: the initial P.
        radius: the initial R.
        temperature: T.
        weight: w, the weight of the margin.
        unit: True to bring features to unit length.
        divided: True to divide distances by D.
    """

    def __init__(
        self, points: Tensor, radius: float, temperature: float, weight: float, unit: bool = True, divided: bool = False
    ):
        super().__init__()
        self.temperature, self.weight, self.unit = temperature, weight, unit
        self.divisor = points.shape[1] if divided else 1
        self.points = nn.Parameter(points.detach().clone())
        self.radius = nn.Parameter(torch.tensor(float(radius)))

    def distances(self, features: Tensor) -> Tensor:
        """d, (B, C), of raw image features (B, D)."""
        x = F.normalize(features, dim=-1) if self.unit else features
        squares = x.square().sum(-1, keepdim=True) + self.points.square().sum(-1) - 2 * x @ self.points.T
        return squares / self.divisor

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        return self.distances(features) / self.temperature

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, and the weighted margin."""
        d = self.distances(features)
        margin = (d.gather(1, labels[:, None]) - self.radius).square().mean()
        return {"ce": F.cross_entropy(d / self.temperature, labels), "margin": self.weight * margin}

    def own_scores(self, features: Tensor) -> dict[str, Tensor]:
        """`distance` and `distance_msp`, (B,)."""
        d = self.distances(features)
        return {"distance": d.max(1).values, "distance_msp": d.softmax(1).max(1).values}


@TRAINER_REGISTRY.register()
class RPL(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: |f - P_c|² / T, P_c a reciprocal point; CE + w (|f - P_y|² - R)²
        learned: reciprocal points P, radius R
        parameters: C*D + 1
        checked: authors' code: loss, logits, gradients; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """INIT: text | random; WEIGHT: w."""
        return CN({"INIT": "text", "WEIGHT": 0.1})

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and also the values of the method's own keys."""
        super().check_cfg(cfg)
        check_choice("TRAINER.RPL.INIT", cfg.TRAINER.RPL.INIT, STARTS)

    def build_head(self, task: FewShotTask, cfg: CN) -> RPLHead:
        """Make initial points from minus the text features, or random ones."""
        texts = task.text_features("template")
        if cfg.INIT == "random":
            draws = torch.randn(texts.shape, generator=seeded_generator(self.cfg.SEED, "points"))
            return RPLHead(0.1 * draws.to(texts), 0.0, 1.0, cfg.WEIGHT, unit=False, divided=True)
        head = RPLHead(-texts, 0.0, 2 / task.logit_scale, cfg.WEIGHT)
        with torch.no_grad():
            d = head.distances(task.support_features[0].to(texts.device))
            head.radius.copy_(d.gather(1, task.support_labels[:, None]).mean())
        return head
