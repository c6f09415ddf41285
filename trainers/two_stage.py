"""TwoStage (2SFS): training first of the norms of both towers, then of a classifier on their features.

    stage 1:  logits = s norm(f'(image)) . t'_c      f', t'_c by towers with changed norms; t'_c unit, encoded anew in
                                                     every step from "a photo of a {name}."
    stage 2:  logits = s norm(f'(image)) . norm(w_c)   w_c starts at t'_c; the towers do not change any more
    loss   = CE in both

CLIP is frozen except for gains and biases of its norms, which stage 1 learns: those of ln_1 and ln_2 of every block
(`official`, 61,440 numbers for ViT-B/16), or of all norms (`repaired`, 65,536). With PARAMETERS biases, all biases are
learned instead (124,928). Stage 2 learns the classifier, C D numbers. In the test, classes that training saw have their
w_c, and others t'_c.

Both stages are epochs of STEPS_PER_SHOT * K batches: MAX_EPOCH 10, STEPS_PER_SHOT 30 and STAGE1 0.6 are the authors'
180 K and 120 K steps. The rate follows a cosine to MIN_LR in each stage. One optimiser serves both
stages. It does not change parameters without a gradient, and the classifier has none before stage 2, so a run can
resume in either stage.

Source: Farina et al., "Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages", CVPR 2025,
arXiv:2503.11609, and the authors' released code.
Differences from the authors' code: numbers are in float32 or bf16, where the authors' code has half precision with a
scaled loss. Stage 2 continues the pass over the images in which stage 1 ended. Few-shot draws are CoOp's. `official`
has new random crops of at least 8 % of an image in every pass. On shifted data sets the columns of the classifier are
used; the authors' code has no such test. Parity: tests/parity/test_towers.py; references in
tests/trainers/test_towers.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompt_learning import Sentences, TextTower
from simnl.clip.text import readable
from simnl.clip.towers import ImageTower, LearnedWeights, names_of
from simnl.config_names import check_choice
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.tower_head import LearnsInTowers, TowerHead
from simnl.fewshot.two_stages import LearnsInTwoStages

NORMS = tuple(f"{norm}.{part}" for norm in ("ln_1", "ln_2") for part in ("weight", "bias"))
ENDS = tuple(f"{norm}.{part}" for norm in ("ln_pre", "ln_post", "ln_final") for part in ("weight", "bias"))
BIASES = ("ln_1.bias", "ln_2.bias", "attn.out_proj.bias", "c_fc.bias", "c_proj.bias", *ENDS[1::2])
PARAMETERS = {"block-norms": NORMS, "norms": NORMS + ENDS, "biases": BIASES}


class TwoStageHead(TowerHead):
    """Towers with changed norms, and a classifier. Learned: `image`, `text` (stage 1), `classifier` (C, D) (stage 2).

    A class whose row in the classifier is all zeros has its text feature instead. In stage 1 these are all classes, and
    in a head for other classes those that training did not see.

    Args:
        tower: the image tower.
        sentences: the prompts of the classes.
        endings: the endings of the names of the weights that are learned.
        classnames: the C class names.
        logit_scale: s.
        chunk: the number of classes that are encoded at once, to save memory; 0 for all.
    """

    def __init__(
        self,
        tower: ImageTower,
        sentences: Sentences,
        endings: tuple[str, ...],
        classnames: tuple[str, ...],
        logit_scale: float,
        chunk: int = 0,
    ):
        super().__init__(logit_scale)
        self.tower, self.sentences, self.classnames, self.chunk = tower, sentences, classnames, chunk
        self.second_stage = False
        modules = (tower.module, sentences.tower.module)
        self.image, self.text = (LearnedWeights({n: m.get_parameter(n) for n in names_of(m, endings)}) for m in modules)
        self.classifier = nn.Parameter(torch.zeros(len(classnames), tower.clip.embed_dim))

    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to raw image features (B, D)."""
        return self.tower.encode(pixels, weights=self.image.weights())

    def adapted_text(self) -> Tensor:
        """t', unit rows (C, D)."""
        return F.normalize(self.sentences.encode(chunk=self.chunk, weights=self.text.weights()), dim=-1)

    def encode_classes(self) -> Tensor:
        """Unit rows (C, D): the rows of the classifier, and text features for classes without one."""
        known = self.classifier.any(dim=1, keepdim=True)
        return torch.where(known, F.normalize(self.classifier, dim=-1), self.adapted_text())

    def losses(self, pixels: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """The cross-entropy of the current stage, for pixels (B, 3, H, W)."""
        if self.second_stage:
            with torch.no_grad():
                images = self.image_features(pixels)
            logits = self.cosine(images, F.normalize(self.classifier, dim=-1))
        else:
            logits = self.cosine(self.image_features(pixels), self.adapted_text())
        return {"ce": F.cross_entropy(logits, labels)}

    @torch.no_grad()
    def start_classifier(self) -> None:
        """Set the classifier to the text features of the current towers."""
        self.classifier.copy_(self.adapted_text())

    @torch.no_grad()
    def adopt(self, trained: Any) -> None:
        """Take over the towers of a head for other classes, and rows of its classifier by the names of classes."""
        state = trained.state_dict()
        rows = state.pop("classifier")
        self.load_state_dict(state, strict=False)
        known = {name: rows[number] for number, name in enumerate(trained.classnames)}
        self.classifier.copy_(torch.stack([known.get(name, torch.zeros_like(rows[0])) for name in self.classnames]))


@TRAINER_REGISTRY.register()
class TwoStage(LearnsInTowers, LearnsInTwoStages):
    """The method as a trainer.

    Table row:
        prediction: s norm(f'(image))·norm(w_c), w_c starts at text features of changed towers
        learned: norms of both towers, then a classifier
        parameters: see its docstring
        checked: authors' code, where its outputs are at hand; formula
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """See configs/trainers/TwoStage.yaml."""
        steps = {"STEPS_PER_SHOT": 30, "STAGE1": 0.6, "MIN_LR": 1e-6}
        return CN({"PARAMETERS": "norms", "TEMPLATE": "a photo of a {}.", **steps, "CHUNK": 256})

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and also the values of the method's own keys."""
        super().check_cfg(cfg)
        node = cfg.TRAINER.TWOSTAGE
        check_choice("TRAINER.TWOSTAGE.PARAMETERS", node.PARAMETERS, PARAMETERS)

    def build_head(self, task: FewShotTask, cfg: CN) -> TwoStageHead:
        """Make a head with the norms of CLIP and without a classifier."""
        prompts = [cfg.TEMPLATE.format(readable(name)) for name in task.classnames]
        sentences = Sentences(TextTower(task.clip), prompts)
        tower, endings = ImageTower(task.clip), PARAMETERS[cfg.PARAMETERS]
        return TwoStageHead(tower, sentences, endings, task.classnames, task.logit_scale, cfg.CHUNK)

    def before_epoch(self) -> None:
        """Begin stage 2 at its first epoch, with the classifier at the text features."""
        super().before_epoch()
        if self.epoch == self.first_epochs:
            self.head.start_classifier()
