"""NegPrompt: a learned prompt, and learned negative prompts that all classes share.

    e_c0   = norm(text([v_1] ... [v_M] [class c] .)),   e_ck = norm(text([v_1 + u_k1] ... [v_M + u_kM] [class c] .))
    logits = s f . e_c0                                 f the unit image feature, s the model's logit scale
    stage 1: loss = CE                                  learns v; the negative prompts keep their initial values
    stage 2: loss = L_other + w_d L_apart + w_n L_spread    learns u; v is frozen after stage 1

with l_ck = s f . e_ck of all C (1 + n) prompts, e_c0 constant in stage 2, and, by LOSS,

    MSP    L_other = mean of log(1 + exp(-+ l_ck)), + for all prompts of the image's class, - for all others
           L_apart = -mean_ck (1 - e_c0 . e_ck)         moves negative prompts away from their class's prompt
    OE     L_other = mean_i [logsumexp l - mean l],     L_apart = +mean_ck (1 - e_c0 . e_ck)
    Fence  L_other = -mean_ik |p_yk - 0.5 / (2 + n)|    p the softmax of all l of image i, y its class;  L_apart = 0
    L_spread = mean_c |mean_k e_ck| - 1                 negatives of a class go apart

Both towers are frozen. Learned are v and u, (1 + n) M W numbers. These scores, which are larger for known classes,
follow from the cosines and from p, their softmax over all C (1 + n) prompts: `nega` -max p_ck, `posi_nega` max_c p_c0 -
max_k p_ck of that class, `msp_all` max_c p_c0, `energy_all` log sum_c exp(f . e_c0).

Source: Li et al., "Learning Transferable Negative Prompts for Out-of-Distribution Detection", CVPR 2024,
arXiv:2404.03248, and the authors' released code.
Differences from the authors' code: its 1e-8 CE of stage 2 is left out, as nothing that it depends on is learned then.
Few-shot images are CoOp's draws (there: a generator that nobody seeds), and the last epoch is kept (there: the best one
on the test images of the unknown classes). The rate follows one cosine in each stage (there: one of 50 steps that goes
up and down). Its Fence leaves out the first image of each batch, which is `Fence-released` here. Its term of prototypes
(weight 0) is left out, too: it depends on e_c0 alone, so nothing is learned by it. u starts at numbers within 1e-5, as
there.
Parity: tests/parity/test_detectors.py compares with recorded outputs of the authors' code;
tests/trainers/test_negative_prompts.py has the formulas in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import check_choice
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.prompt_head import LearnsPrompts, PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.two_stages import LearnsInTwoStages

LOSSES = ("MSP", "OE", "Fence", "Fence-released")
FENCE = 0.5  # p at the fence, times the number of an image's own prompts and one
NOISE = 1e-5  # of the negative contexts at the start


def other_loss(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """L_other. logits of all prompts: (B, C, 1 + n); labels: (B,) int64; kind: one of LOSSES."""
    if kind == "OE":
        flat = logits.flatten(1)
        return (flat.logsumexp(1) - flat.mean(1)).mean()
    if kind.startswith("Fence"):
        p = logits.flatten(1).softmax(1).view_as(logits)[torch.arange(len(labels)), labels]
        p = p[1:] if kind == "Fence-released" else p
        return -(p - FENCE / (1 + logits.shape[2])).abs().sum() / max(1, p.numel())
    own = F.one_hot(labels, logits.shape[1]).to(logits.dtype)[..., None].expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, own)


def apart_loss(texts: Tensor, kind: str) -> Tensor:
    """L_apart. texts: unit rows (C, 1 + n, D), the positive one first."""
    if kind.startswith("Fence"):
        return texts.new_zeros(())
    distance = (1 - (texts[:, :1] * texts[:, 1:]).sum(-1)).mean()
    return distance if kind == "OE" else -distance


def spread_loss(texts: Tensor) -> Tensor:
    """L_spread. texts: as for `apart_loss`."""
    return (texts[:, 1:].mean(1).norm(dim=-1) - 1).mean()


def negative_scores(cosines: Tensor) -> dict[str, Tensor]:
    """The scores (B,) by name, from cosines with all prompts, (B, C, 1 + n)."""
    p = cosines.flatten(1).softmax(1).view_as(cosines)
    best, own = p[..., 0].max(1)
    negatives = p[..., 1:].amax(-1)
    return {
        "nega": -negatives.amax(1),
        "posi_nega": best - negatives.gather(1, own[:, None])[:, 0],
        "msp_all": best,
        "energy_all": cosines[..., 0].logsumexp(1),
    }


class NegPromptHead(PromptHead):
    """A learned prompt and n negative ones. Learned: `context` (M, W) in stage 1, `negatives` (n, M, W) in stage 2.

    Args:
        negatives: the initial u.
        kind: one of LOSSES.
        apart, spread: w_d, w_n.
        inputs: the arguments of `PromptHead`.
    """

    def __init__(self, negatives: Tensor, kind: str, apart: float, spread: float, **inputs):
        super().__init__(**inputs)
        self.kind, self.apart, self.spread, self.second_stage = kind, apart, spread, False
        self.negatives = nn.Parameter(negatives.clone())

    def all_texts(self) -> Tensor:
        """e, unit rows (C, 1 + n, D), with gradients only with respect to u."""
        with torch.no_grad():
            positive, context = self.text_features(), self.context.detach().clone()
        negatives = [self.encode_prompts(context + u) for u in self.negatives]
        return torch.stack([positive, *negatives], dim=1)

    def all_cosines(self, features: Tensor, texts: Tensor) -> Tensor:
        """Raw image features (B, D) and texts (C, 1 + n, D) to cosines (B, C, 1 + n)."""
        return (F.normalize(features, dim=-1) @ texts.flatten(0, 1).T).view(-1, *texts.shape[:2])

    def losses(self, features: Tensor, labels: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """The terms of the current stage."""
        if not self.second_stage:
            return {"ce": F.cross_entropy(self(features), labels)}
        texts = self.all_texts()
        logits = self.logit_scale * self.all_cosines(features, texts)
        return {
            "other": other_loss(logits, labels, self.kind),
            "apart": self.apart * apart_loss(texts, self.kind),
            "spread": self.spread * spread_loss(texts),
        }

    def own_scores(self, features: Tensor) -> dict[str, Tensor]:
        """`nega`, `posi_nega`, `msp_all` and `energy_all`, (B,)."""
        return negative_scores(self.all_cosines(features, self.all_texts()))


@TRAINER_REGISTRY.register()
class NegPrompt(LearnsPrompts, LearnsInTwoStages):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(text([v_1 … v_M] class c)), beside 2 negative prompts that all classes share
        learned: context vectors of the prompt, then of the negative prompts
        parameters: 3*M*W
        checked: authors' code: losses, gradients, scores; the text tower written out
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """N_CTX: M without initial words. NEGATIVES: n. APART, SPREAD: w_d, w_n. STAGE1: its share of the epochs."""
        weights = {"LOSS": "MSP", "APART": 0.1, "SPREAD": 0.05}
        return CN(
            {"N_CTX": 4, "CTX_INIT": "a photo of a", "NEGATIVES": 2, **weights, "STAGE1": 0.5, "MIN_LR": 0.0}
            | {"CHUNK": 256}
        )

    def check_cfg(self, cfg: CN) -> None:
        """Check as the base class does, and also the values of the method's own keys."""
        super().check_cfg(cfg)
        node = cfg.TRAINER.NEGPROMPT
        check_choice("TRAINER.NEGPROMPT.LOSS", node.LOSS, LOSSES)
        if node.NEGATIVES < 1:
            raise ValueError(
                f"TRAINER.NEGPROMPT.NEGATIVES is {node.NEGATIVES}, but at least one negative prompt is needed."
            )

    def build_head(self, task: FewShotTask, cfg: CN) -> NegPromptHead:
        """Make negative contexts that equal the positive one up to noise."""
        inputs = self.prompt_inputs(task, cfg)
        context = inputs["context"]
        generator = seeded_generator(self.cfg.SEED, "negative context")
        noise = NOISE * (2 * torch.rand(cfg.NEGATIVES, *context.shape, generator=generator) - 1)
        return NegPromptHead(
            negatives=noise.to(context),
            kind=cfg.LOSS,
            apart=cfg.APART,
            spread=cfg.SPREAD,
            **inputs,
        )
