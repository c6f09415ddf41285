"""MaPLe: learned tokens in both towers, where those of the image tower follow from those of the text tower.

    image: [CLS, patches, v_0] -> ln_pre -> blocks;  the last n tokens of the input of block l become v_l, l = 1 .. J-1
    text:  [SOS, e_0, rest of "a photo of a {name}.", EOS];  tokens 1 .. n of the input of block l become e_l
    v_l    = W_l e_l + bias_l                        n tokens each, no positions; J is the depth
    logits = s norm(f'(image)) . norm(t'_c)          f', t' by these towers, s the model's logit scale
    loss   = CE

CLIP is frozen. Learned are e_0 (n, Wt), which starts at the first n tokens of the words, e_l (n, Wt) ~ N(0, 0.02^2),
and J linear maps Wt -> Wv; the maps of the later blocks start equal. These are J (n Wt + Wt Wv + Wv) numbers, 3,555,072
for ViT-B/16 with n 2 and J 9. What is learned does not depend on the classes.

Source: Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, arXiv:2210.03117, and the authors' released
code.
Differences from the authors' code: half precision without a scaled loss is not offered. Prompts and projections are in
float32, and the draws are functions of the seed. `official` rounds the tokens, except e_0, to half precision where they
enter a tower, has new random crops of at least 8 % of an image in every pass, and leaves a short last batch out. The
authors have no settings for few-shot classification with all classes, so those for base-to-new are used.
Parity: tests/parity/test_towers.py; references in tests/trainers/test_towers.py.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.deep_prompts import TextPrompts, encode_with, seeded_linear
from simnl.clip.prompt_learning import Sentences, TextTower
from simnl.clip.towers import ImageTower, check_depth
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers, TowerHead
from simnl.fewshot.trainer import VLTrainer


class MaPLeHead(TowerHead):
    """Coupled tokens in both towers. Learned: `prompts` (text) and `couplings.<l>`, the maps to the image tower.

    Args:
        tower: the image tower.
        prompts: the tokens of the text tower; the image tower has tokens in as many blocks.
        sentences: the prompts of the classes.
        generator: the generator of the initial maps.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
    """

    def __init__(
        self,
        tower: ImageTower,
        prompts: TextPrompts,
        sentences: Sentences,
        generator: torch.Generator,
        logit_scale: float,
        chunk: int = 0,
    ):
        super().__init__(logit_scale)
        check_depth(tower.clip, "image", tower.num_blocks, 1 + len(prompts.deep), "TRAINER.MAPLE.DEPTH")
        self.tower, self.sentences, self.chunk = tower, sentences, chunk
        self.prompts = prompts
        first, later = (seeded_linear(prompts.context.shape[1], tower.width, generator) for _ in range(2))
        self.couplings = nn.ModuleList([first, *(copy.deepcopy(later) for _ in prompts.deep)])

    def vision_tokens(self) -> list[Tensor]:
        """v_0, ..., v_(J-1), each (n, Wv)."""
        tokens = [self.prompts.context, *self.prompts.deep]
        return [couple(t) for couple, t in zip(self.couplings, tokens, strict=True)]

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        first, *deep = self.vision_tokens()
        return encode_with(self.tower, pixels, first, deep, self.prompts.rounded)

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D)."""
        return F.normalize(self.prompts.encode(self.sentences, self.chunk), dim=-1)


@TRAINER_REGISTRY.register()
class MaPLe(LearnsInTowers, VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s norm(f'(image))·norm(t'_c), tokens in both towers
        learned: text tokens in J blocks, maps to image tokens
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/MaPLe.yaml."""
        return CN({"N_CTX": 2, "DEPTH": 9, "HALF_TOKENS": False, "CHUNK": 256})

    def build_head(self, task: FewShotTask, cfg: CN) -> MaPLeHead:
        """Make the initial tokens, and the prompts of the class names."""
        generator, text = seeded_generator(self.cfg.SEED, "MaPLe"), TextTower(task.clip)
        prompts = TextPrompts(text, cfg.N_CTX, cfg.DEPTH, generator, cfg.HALF_TOKENS)
        sentences = prompts.sentences(text, task.classnames)
        return MaPLeHead(ImageTower(task.clip), prompts, sentences, generator, task.logit_scale, cfg.CHUNK)
