"""IVLP: learned tokens in both towers, each side with its own.

    image: [CLS, patches, v_0] -> ln_pre -> blocks;  the last tokens of the input of block l become v_l, l = 1 .. Jv-1
    text:  [SOS, e_0, rest of "a photo of a {name}.", EOS];  tokens 1 .. n of the input of block l become e_l, l < Jt
    logits = s norm(f'(image)) . norm(t'_c)          f', t' by these towers, s the model's logit scale
    loss   = CE

CLIP is frozen. Learned are Jt tokens (nt, Wt), where e_0 starts from words, and Jv tokens (nv, Wv) ~ N(0, 0.02^2).
These are 30,720 numbers for ViT-B/16 with 2 + 2 tokens in 12 blocks. DEPTH_VISION 0 prompts only the text tower, for
which the authors have 4 tokens (24,576 numbers). What is learned does not depend on the classes.

Source: the independent prompting that Khattak et al. compare MaPLe with (CVPR 2023, arXiv:2210.03117), and the authors'
released code; PromptSRC (arXiv:2307.06948) builds on it.
Differences from the authors' code: the same as for MaPLe (trainers/maple.py).
Parity: tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.deep_prompts import TextPrompts, VisionPrompts
from simnl.clip.prompt_learning import Sentences, TextTower
from simnl.clip.towers import ImageTower
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers, TowerHead
from simnl.fewshot.trainer import VLTrainer


class IVLPHead(TowerHead):
    """Independent tokens in both towers. Learned: `prompts` (text) and `vision`.

    Args:
        tower: the image tower.
        prompts: the tokens of the text tower.
        vision: the tokens of the image tower, or None.
        sentences: the prompts of the classes.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
    """

    def __init__(
        self,
        tower: ImageTower,
        prompts: TextPrompts,
        vision: VisionPrompts | None,
        sentences: Sentences,
        logit_scale: float,
        chunk: int = 0,
    ):
        super().__init__(logit_scale)
        self.tower, self.prompts, self.vision = tower, prompts, vision
        self.sentences, self.chunk = sentences, chunk

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return self.tower.encode(pixels) if self.vision is None else self.vision.encode(self.tower, pixels)

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        return F.normalize(self.prompts.encode(self.sentences, self.chunk), dim=-1)


def ivlp_parts(task: FewShotTask, cfg: CN, seed: int) -> dict:
    """The arguments of an `IVLPHead`, by name. `cfg` is a node with the keys of IVLP."""
    generator, text, tower = seeded_generator(seed, "IVLP"), TextTower(task.clip), ImageTower(task.clip)
    prompts = TextPrompts(text, cfg.N_CTX_TEXT, cfg.DEPTH_TEXT, generator, cfg.HALF_TOKENS)
    vision = None
    if cfg.DEPTH_VISION:
        vision = VisionPrompts(tower, cfg.N_CTX_VISION, cfg.DEPTH_VISION, generator, cfg.HALF_TOKENS)
    sentences = prompts.sentences(text, task.classnames)
    return {"tower": tower, "prompts": prompts, "vision": vision, "sentences": sentences, "chunk": cfg.CHUNK}


@TRAINER_REGISTRY.register()
class IVLP(LearnsInTowers, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(f'(image))·norm(t'_c), tokens in both towers
        learned: text and image tokens, each side its own
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/IVLP.yaml."""
        depths = {"N_CTX_TEXT": 2, "N_CTX_VISION": 2, "DEPTH_TEXT": 12, "DEPTH_VISION": 12}
        return CN({**depths, "HALF_TOKENS": False, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> IVLPHead:
        """Make the initial tokens, and the prompts of the class names."""
        return IVLPHead(**ivlp_parts(task, cfg, self.cfg.SEED), logit_scale=task.logit_scale)
