"""TaskRes: one learned residual per class, which is added to a frozen text classifier.

    logits = s f . norm(b_c + a x_c)        f the unit image feature, s the model's logit scale
    loss   = CE

The base b is frozen. It is the mean of the raw text features of a class, not brought to unit length, so that `a` and
the step size act on CLIP's own scale. The residual x (C, D) is learned. It starts at zero, where the method is
zero-shot CLIP.

The enhanced base (BASE: enhanced-ours) is b_c = h_c P, where h_c is the mean of the inputs of the text projection. P
(H, D) starts at CLIP's own projection, is learned before x with logits = s f . norm(h_c P) and loss = CE, and is then
frozen. The authors published such bases, but not their recipe. The recipe here (STAGE1) is our own, so its figures are
not the authors'.

TaskRes can carry SimNL's negative branch (`NEGATIVE` in its config node, simnl/fewshot/negative.py).

Source: Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, arXiv:2211.10277, and the authors'
released code.
Differences from the authors' code: underscores of class names are spaces in prompts, where the authors' code keeps
them.
Parity, on the regular base: tests/parity/test_task_res.py.
"""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler, build_optimizer
from simnl.clip.projection import unprojected_texts
from simnl.clip.text import PromptSet, class_weights
from simnl.config_names import check_choice
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.negative import CarriesNegative, NegativeBranch, NegativeOptions, OffersNegative
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

log = logging.getLogger(__name__)

BASES = ("regular", "enhanced-ours")


class TaskResHead(CarriesNegative, Head):
    """Cosine with the moved classifier, times the logit scale. Learned: `residual` (C, D).

    Args:
        base: b, raw text features, (C, D).
        logit_scale: s.
        scale: a, the weight of the residual, above 0.
        learned_base: True if training sets b (enhanced base), so that it belongs to checkpoints.
        negative: the negative branch; None for the plain method.
    """

    base: Tensor

    def __init__(
        self,
        base: Tensor,
        logit_scale: float,
        scale: float,
        learned_base: bool = False,
        negative: NegativeBranch | None = None,
    ):
        super().__init__()
        if scale <= 0:
            raise ValueError(f"TRAINER.TASKRES.SCALE is {scale}, but it must be above 0 (authors: 0.5).")
        self.logit_scale, self.scale, self.num_products = logit_scale, scale, base.shape[1]
        self.register_buffer("base", base.detach().clone(), persistent=learned_base)
        self.residual = nn.Parameter(torch.zeros_like(base))
        self.negative, self.products_suffice = negative, negative is None

    def products(self, features: Tensor) -> Tensor:
        """s f, (B, D)."""
        return self.logit_scale * F.normalize(features, dim=-1)

    def forward(self, features: Tensor, products: Tensor | None = None) -> Tensor:
        """Raw image features (B, D) to logits (B, C). `products` are those of the features, where they are known."""
        logits = (self.products(features) if products is None else products) @ self.classifier().T
        return logits if self.negative is None else logits + self.negative(features)

    def classifier(self) -> Tensor:
        """norm(b + a x), (C, D)."""
        return F.normalize(self.base + self.scale * self.residual, dim=-1)

    def deployed(self) -> ClassifierHead:
        """The moved classifier as a constant."""
        return ClassifierHead(self.classifier(), self.logit_scale, negative=self.deployed_negative())


class ProjectionHead(Head):
    """Stage 1 of the enhanced base. Learned: `projection` (H, D).

    Args:
        hidden: h, the mean over the prompts of a class of the inputs of the text projection, (C, H).
        projection: the initial P.
        logit_scale: s.
    """

    hidden: Tensor

    def __init__(self, hidden: Tensor, projection: Tensor, logit_scale: float):
        super().__init__()
        self.logit_scale = logit_scale
        self.frozen_buffer("hidden", hidden)
        self.projection = nn.Parameter(projection.detach().clone())

    def base(self) -> Tensor:
        """Raw text features (C, D)."""
        return self.hidden @ self.projection

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        return self.logit_scale * F.normalize(features, dim=-1) @ F.normalize(self.base(), dim=-1).T


@TRAINER_REGISTRY.register()
class TaskRes(OffersNegative, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(b_c + a x_c)
        learned: a residual x_c per class
        parameters: C*D
        checked: authors' code, K = 1 … 16
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """SCALE: a. BASE, STAGE1: the regular or the enhanced base; see configs/trainers/TaskRes.yaml."""
        stage1 = {"LR": 2e-3, "MAX_EPOCH": 50}
        return CN({"SCALE": 0.5, "BASE": "regular", "STAGE1": stage1, "NEGATIVE": NegativeOptions.defaults()})

    def build_head(self, task: FewShotTask, cfg: CN) -> TaskResHead:
        """Make the head with a residual on the raw text base."""
        check_choice("TRAINER.TASKRES.BASE", cfg.BASE, BASES)
        base, negative = task.text_features("template", averaging="mean"), NegativeBranch.of(task, cfg.NEGATIVE)
        return TaskResHead(base, task.logit_scale, cfg.SCALE, cfg.BASE != "regular", negative)

    def before_train(self) -> None:
        """Run stage 1 of the enhanced base. A resumed run has its result in the checkpoint."""
        super().before_train()
        if self.node.BASE == "regular":
            return
        head = self.projection_head()
        self.num_parameters += head.projection.numel()
        if self.start_epoch == 0:
            self.tune(head)
            self.head.base.copy_(head.base().detach())

    def projection_head(self) -> ProjectionHead:
        """The head of stage 1 with its initial values.

        Raises:
            ValueError: the text tower does not end in a projection matrix.
        """
        prompts = PromptSet.from_templates(self.cfg.PROMPTS.POSITIVE, self.task.classnames)
        hidden, projection = unprojected_texts(self.clip, prompts.prompts)
        classes = torch.tensor(prompts.classes, device=hidden.device)
        hidden = class_weights(hidden, classes, self.num_classes, "mean")
        return ProjectionHead(hidden, projection, self.task.logit_scale).to(self.device)

    def tune(self, head: ProjectionHead) -> None:
        """Train stage 1 with our recipe: SGD with the step size and epochs of STAGE1, and else the options of OPTIM."""
        cfg = self.cfg.OPTIM.clone()
        cfg.defrost()
        cfg.NAME, cfg.LR, cfg.MAX_EPOCH = "sgd", self.node.STAGE1.LR, self.node.STAGE1.MAX_EPOCH
        optim = build_optimizer(head, cfg)
        schedule, loader = build_lr_scheduler(optim, cfg), self.inputs.train_loader(self.support)
        for loader.epoch in range(cfg.MAX_EPOCH):
            for batch in loader:
                loss = head.losses(*self.parse_batch_train(batch))["ce"]
                optim.zero_grad()
                loss.backward()
                optim.step()
            schedule.step()
        log.info("The enhanced base was trained by our own recipe; it has %d parameters.", head.projection.numel())
