"""VPT: learned tokens in the image tower only.

    image: [CLS, patches, v_0] -> ln_pre -> blocks;  the last n tokens of the input of block l become v_l, l = 1 .. J-1
    logits = s norm(f'(image)) . t_c       t_c the unit text feature of "a photo of a {name}.", s the logit scale
    loss   = CE

CLIP is frozen. Learned are v_0 ... v_(J-1), each (n, Wv) ~ N(0, 0.02^2). These are 73,728 numbers for ViT-B/16 with n 8
and J 12. The text classifier is constant, so the text tower never runs in training.

Source: Jia et al., "Visual Prompt Tuning", ECCV 2022, arXiv:2203.12119, in the form in which MaPLe's authors compare
with it for CLIP (arXiv:2210.03117), and their released code.
Differences from the authors' code: the same as for MaPLe (trainers/maple.py). There is one template for every data set
in both presets. Parity: tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.deep_prompts import VisionPrompts
from simnl.clip.prompt_learning import plain_text_features
from simnl.clip.towers import ImageTower
from simnl.fewshot.capabilities import ANY_TEXT
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers, TowerHead
from simnl.fewshot.trainer import VLTrainer


class VPTHead(TowerHead):
    """Tokens in the image tower before a constant classifier. Only `vision` is learned.

    Args:
        tower: the image tower.
        vision: the tokens of the image tower.
        text: unit text classifier, (C, D).
        logit_scale: s.
    """

    text: Tensor

    def __init__(self, tower: ImageTower, vision: VisionPrompts, text: Tensor, logit_scale: float):
        super().__init__(logit_scale)
        self.tower, self.vision = tower, vision
        self.frozen_buffer("text", text)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return self.vision.encode(self.tower, pixels)

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        return self.text


@TRAINER_REGISTRY.register()
class VPT(LearnsInTowers, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(f'(image))·t_c, tokens in the image tower
        learned: image tokens in J blocks
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    needs_text = ANY_TEXT  # the frozen text tower encodes the texts

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/VPT.yaml."""
        return CN({"N_CTX": 8, "DEPTH": 12, "TEMPLATE": "a photo of a {}.", "HALF_TOKENS": False})

    def build_head(self, task: FewShotTask, cfg: CN) -> VPTHead:
        """Make the initial tokens, and the classifier of the class names."""
        tower, generator = ImageTower(task.clip), seeded_generator(self.cfg.SEED, "VPT")
        vision = VisionPrompts(tower, cfg.N_CTX, cfg.DEPTH, generator, cfg.HALF_TOKENS)
        text = F.normalize(plain_text_features(task.clip, [cfg.TEMPLATE], task.classnames), dim=-1)
        return VPTHead(tower, vision, text, task.logit_scale)
