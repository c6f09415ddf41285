"""CrossModalLP: a linear probe that is trained on images and on sentences.

    logits = s norm(x) . w_c       x a raw image or sentence feature, s the model's logit scale
    loss   = CE over a batch, one half image features, one half features of prompts

Both towers are frozen. The weights w (C, D) are learned. They start at the unit mean of the raw prompt features of a
class, where the method is zero-shot CLIP, and their length is free. Every view of a support image, and every sentence
of a class, is a training sample. An epoch has EPOCH_STEPS steps, because the authors count steps and use the
validation images after each hundred. WISE_FT mixes the initial weights into the result: w <- (1 - WISE_FT) w + WISE_FT
w_0.

Source: Lin et al., "Multimodality Helps Unimodality: Cross-Modal Few-Shot Learning with Multimodal Models", CVPR 2023,
arXiv:2301.06267, and the authors' released code, of which this is the linear probe that starts at the text classifier.
Differences from the authors' code: the scale is that of the model, where the authors' code has 100. Batches of images
and of sentences are drawn by generators that are functions of the run's seed. A half that has fewer samples than its
batch size is used whole; the authors' code leaves such a batch size out. The initial weights cannot be selected.
`repaired` has a shorter schedule and the views that all methods share; `official` has the authors' views, which are the
centre crop and its mirror image.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_cross_modal_lp.py compares with references.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.loaders import SupportLoader
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


class CrossModalLoader:
    """Batches of images with as many sentences; batch i of epoch e is number e * steps + i of two endless streams.

    A stream is pass after pass over its samples, each in an order that is a function of (seed, pass). So a resumed run
    continues as an undisturbed one would, and the division of steps into epochs changes nothing.

    Args:
        images, texts: the loaders of the two halves of a batch.
        steps: the number of batches of an epoch.
    """

    def __init__(self, images: SupportLoader, texts: SupportLoader, steps: int):
        self.images, self.texts, self.steps = images, texts, steps
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        start = self.epoch * self.steps
        pairs = zip(_stream(self.images, start), _stream(self.texts, start), strict=True)
        for image, text in islice(pairs, self.steps):
            yield {key: torch.cat([image[key], text[key]]) for key in ("img", "label")}


def _stream(loader: SupportLoader, start: int) -> Iterator[dict[str, Tensor]]:
    """The batches of endless passes over a loader, from number `start`."""
    first, skip = divmod(start, len(loader))
    for number in count(first):
        loader.epoch = number
        yield from islice(loader, skip, None)
        skip = 0


class CrossModalHead(Head):
    """A linear classifier of unit features. Learned: `weight` (C, D).

    Args:
        classifier: w_0, unit rows, (C, D).
        logit_scale: s.
    """

    zero_shot: Tensor

    def __init__(self, classifier: Tensor, logit_scale: float):
        super().__init__()
        self.logit_scale = logit_scale
        self.frozen_buffer("zero_shot", classifier)
        self.weight = nn.Parameter(classifier.detach().clone())

    def forward(self, features: Tensor) -> Tensor:
        """Raw features (B, D), of images or of sentences, to logits (B, C)."""
        return self.logit_scale * F.normalize(features, dim=-1) @ self.weight.T

    def deployed(self) -> ClassifierHead:
        """The weights as a constant classifier."""
        return ClassifierHead(self.weight, self.logit_scale)

    @torch.no_grad()
    def mix_zero_shot(self, share: float) -> None:
        """WiSE-FT: move the weights towards the zero-shot classifier. With a `share` of 1 they are replaced."""
        self.weight.lerp_(self.zero_shot, share)


@TRAINER_REGISTRY.register()
class CrossModalLP(VLTrainer):
    """The probe as a trainer.

    Table row:
        prediction: s f·w_c, trained on images and sentences
        learned: a classifier that starts at the text's
        parameters: C*D
        checked: authors' code, once; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/CrossModalLP.yaml."""
        return CN({"EPOCH_STEPS": 100, "WISE_FT": 0.0})

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and also the values of the method's own keys."""
        super().check_cfg(cfg)
        node = cfg.TRAINER.CROSSMODALLP
        if node.EPOCH_STEPS < 1:
            raise ValueError(f"TRAINER.CROSSMODALLP.EPOCH_STEPS is {node.EPOCH_STEPS}, but it must be 1 or more.")
        if not 0 <= node.WISE_FT <= 1:
            raise ValueError(f"TRAINER.CROSSMODALLP.WISE_FT is {node.WISE_FT}, not from 0 to 1 (authors: 0.5).")

    def build_head(self, task: FewShotTask, cfg: CN) -> CrossModalHead:
        """The probe at the text classifier."""
        return CrossModalHead(task.text_features("template", averaging="mean-normalize"), task.logit_scale)

    def build_train_loader(self, task: FewShotTask) -> CrossModalLoader:
        """A loader of all views of the images, with the sentences of the task."""
        loader, seed, views = self.cfg.DATALOADER.TRAIN_X, self.cfg.SEED, self.support.train_features
        images = views.flatten(0, 1)[None], self.support.train_labels.repeat(len(views))
        texts = task.prompts["template"].features[None], task.prompts["template"].classes
        image_loader, text_loader = (
            SupportLoader(x.to(self.device), y.to(self.device), loader.BATCH_SIZE, key, loader.DROP_LAST)
            for (x, y), key in ((images, seed), (texts, -1 - seed))  # independent orders
        )
        return CrossModalLoader(image_loader, text_loader, self.node.EPOCH_STEPS)

    def fit(self) -> None:
        """Apply WiSE-FT after the epochs."""
        self.head.mix_zero_shot(self.node.WISE_FT)
