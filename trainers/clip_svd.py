"""CLIPSVD: the singular values of all matrices in the blocks of both towers.

    W' = U diag(sigma) V^T                  for queries, keys, values, attention output and both layers of the MLP
    logits = s norm(f'(image)) . t'_c       f', t'_c by the changed towers; t'_c the unit mean of the unit features of
                                            the templates of class c, encoded anew in every step
    loss   = CE

U, V and everything else are frozen. sigma is learned, which has 92,160 numbers for ViT-B/16. It starts at the singular
values, so that training starts at zero-shot CLIP. Nothing keeps sigma positive. What is learned does not depend on the
classes.

An epoch is STEPS_PER_SHOT * K batches, so MAX_EPOCH 10 and STEPS_PER_SHOT 20 are the authors' 200 K steps. In
base-to-new an epoch is a pass over the images (STEPS_PER_SHOT 0).

Source: Koleilat et al., "Singular Value Few-shot Adaptation of Vision-Language Models", arXiv:2509.03740, and the
authors' released code.
Differences from the authors' code: numbers are in float32 or bf16, where the authors' code has half precision without a
scaled loss. Weights are composed in every step, where the authors' code has two thin products around sigma, which is
the same. Few-shot draws are CoOp's. `official` has the factor 100 in place of s, the authors' templates, new random
crops of at least 8 % of an image in every pass, and in base-to-new a cosine that swings with a period of 2 MAX_EPOCH
steps. Parity: tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import Sentences, TextTower
from simnl.clip.singular import SingularValues
from simnl.clip.text import PromptSet, class_weights
from simnl.clip.towers import ImageTower
from simnl.fewshot.capabilities import CLIP_TEXT
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import TowerHead
from simnl.fewshot.trainer import VLTrainer


class CLIPSVDHead(TowerHead):
    """Zero-shot CLIP by towers of changed singular values. Learned: `image` and `text`.

    Args:
        tower: the image tower.
        sentences: P prompts.
        classes: the class of each prompt, (P,) int64; every class has one or more.
        logit_scale: s.
        chunk: the number of prompts that are encoded at once, to save memory; 0 for all.
    """

    classes: Tensor

    def __init__(self, tower: ImageTower, sentences: Sentences, classes: Tensor, logit_scale: float, chunk: int = 0):
        super().__init__(logit_scale)
        self.tower, self.sentences, self.chunk = tower, sentences, chunk
        self.num_classes = int(classes.max()) + 1
        self.frozen_buffer("classes", classes)
        self.image, self.text = SingularValues(tower.module), SingularValues(sentences.tower.module)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return self.tower.encode(pixels, weights=self.image.weights())

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        prompts = self.sentences.encode(chunk=self.chunk, weights=self.text.weights())
        return class_weights(prompts, self.classes, self.num_classes, "normalize-mean-normalize")


@TRAINER_REGISTRY.register()
class CLIPSVD(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(f'(image))·t'_c by changed towers
        learned: singular values of all matrices in the blocks of both towers
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    image_encoder_frozen = False
    needs_vit = True
    needs_class_token = True
    needs_text = CLIP_TEXT
    base_to_new = True

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/CLIPSVD.yaml."""
        return CN({"STEPS_PER_SHOT": 20, "MIN_LR": 1e-6, "LOGIT_SCALE": 0.0, "SWING": False, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> CLIPSVDHead:
        """Decompose the weights of the towers."""
        prompts = PromptSet.from_templates(task.templates, task.classnames)
        sentences, scale = Sentences(TextTower(task.clip), prompts.prompts), cfg.LOGIT_SCALE or task.logit_scale
        return CLIPSVDHead(ImageTower(task.clip), sentences, torch.tensor(prompts.classes), scale, cfg.CHUNK)

    def build_schedule(self, optim: torch.optim.Optimizer) -> LRScheduler:
        """The schedule of the base class. With SWING, a cosine over the epochs steps after each batch."""
        schedule = super().build_schedule(optim)
        if self.node.SWING and isinstance(schedule, CosineAnnealingLR):
            schedule.T_max = self.cfg.OPTIM.MAX_EPOCH
        return schedule
