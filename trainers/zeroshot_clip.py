"""Zero-shot CLIP: the class whose text is nearest to the image.

    logits = s f W^T,   f the unit image feature, W the unit text classifier, s the model's logit scale

Nothing is learned, and no training image is looked at. PROMPTS names the text classifier: `template` (CoOp's templates,
which for ImageNet are the ensemble of seven), `cupl` (CuPL sentences alone), `pool` (both in one list, as in CuPL's
"both" and in APE), or `mixture` (0.45 template + 0.55 CuPL, not brought to unit length again, which is SimNL's
classifier before training).

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
arXiv:2103.00020; Pratt et al., "What does a platypus look like?", ICCV 2023, arXiv:2209.03320 (CuPL).
Differences from the authors' code: none is known.
Parity: tests/trainers/test_zeroshot_clip.py.
"""

from __future__ import annotations

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.head import ClassifierHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

PROMPTS = {"template": ("template",), "cupl": ("cupl",), "pool": ("template", "cupl"), "mixture": ("template", "cupl")}


class ZeroshotHead(ClassifierHead):
    """Cosine with a fixed classifier (C, D), times the logit scale."""


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(VLTrainer):
    """Zero-shot CLIP as a trainer without training.

    Table row:
        prediction: s f·t_c
        learned: nothing
        parameters: 0
        checked: formula
    """

    uses_support = False
    training_free = True
    base_to_new = True

    @classmethod
    def default_cfg(cls) -> CN:
        """PROMPTS: template | cupl | pool | mixture. CUPL_WEIGHT: the share of CuPL in the mixture."""
        return CN({"PROMPTS": "template", "CUPL_WEIGHT": 0.55})

    @classmethod
    def prompt_sets_of(cls, cfg: CN) -> tuple[str, ...]:
        """The prompt sets of the classifier that PROMPTS names.

        Raises:
            ValueError: PROMPTS has another value.
        """
        check_choice("TRAINER.ZEROSHOTCLIP.PROMPTS", cfg.PROMPTS, PROMPTS)
        return PROMPTS[cfg.PROMPTS]

    def build_head(self, task: FewShotTask, cfg: CN) -> ZeroshotHead:
        """The classifier that PROMPTS names."""
        if cfg.PROMPTS == "mixture":
            share = cfg.CUPL_WEIGHT
            classifier = (1 - share) * task.text_features("template") + share * task.text_features("cupl")
        else:
            classifier = task.text_features(*PROMPTS[cfg.PROMPTS])
        return ZeroshotHead(classifier, task.logit_scale)
