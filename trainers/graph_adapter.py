"""GraphAdapter: text features that are convolved with their neighbours in two graphs, of texts and of images.

    e_mn = max(0, cos(x_m, x_n)),   A^ = G^-1/2 (e + 1) G^-1/2,   G the row sums of e + 1 (1: the identity)
    h    = tanh((A^ X)_0 Theta + bias_c)        one graph of class c and group q; row 0 is t_c itself
    g_c  = mean_q (a h_text + (1 - a) h_image)
    logits = s f . norm(beta t_c + (1 - beta) g_c)
    loss   = CE

Group q holds the classes whose index is q modulo 4. The graph of (c, q) has the node t_c and a node for each class j of
q, which is the text feature t_j in one graph and the visual mean v_j in the other. t and v are frozen and raw (not
brought to unit length), and so are nodes and edges. Theta (D, D) and bias (C, D) are learned, for either graph. Only
row 0 is used, and nothing learned comes before Theta, so (A^ X)_0 is computed once. This gives the same numbers as the
full graph convolution without C * 4 graphs in each step.

Source: Li et al., "GraphAdapter: Tuning Vision-Language Models With Dual Knowledge Graph", NeurIPS 2023,
arXiv:2309.13625, and the single file that its authors released, which does not run as it is.
Differences from that file: the width is free, where the file has 512. The number of classes is free, where the file
needs a multiple of 4, so that groups may differ by one class. v_c is the mean of the rows with the label c, but the
file cuts a sorted list into equal parts. Optimiser, epochs and beta are ours, because none was released.
Parity: an earlier comparison with the authors' code, which is not in this repository, found equal results.
tests/trainers/test_graph_adapter.py compares with the full graph convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.cache import class_sum
from simnl.fewshot.head import ClassifierHead, SearchableHead
from simnl.fewshot.loaders import seeded_generator
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer


def aggregate_row_zero(first: Tensor, nodes: Tensor, groups: int) -> Tensor:
    """(A^ X)_0 of the graph of each class and group.

    Args:
        first: node 0 of class c's graphs, raw, (C, D).
        nodes: the other nodes, one per class, raw, (C, D).
        groups: Q; class j belongs to group j mod Q.

    Returns:
        (C, Q, D).
    """
    unit = F.normalize(first, dim=-1)
    rows = []
    for q in range(groups):
        group = nodes[q::groups]
        unit_group = F.normalize(group, dim=-1)
        edges = (unit @ unit_group.T).clamp(min=0)  # (C, n): node 0 to the others
        degree_first = 2 + edges.sum(1, keepdim=True)  # its edge to itself, and the identity
        degree = edges + (unit_group @ unit_group.T).clamp(min=0).sum(1) + 1
        rows.append(2 * first / degree_first + (edges / (degree_first * degree).sqrt()) @ group)
    return torch.stack(rows, dim=1)


class GraphAdapterHead(SearchableHead):
    """The two graphs. Learned: `theta_text`, `theta_image` (D, D) and `bias_text`, `bias_image` (C, D).

    beta is searched after training; the logits have no second part, so alpha is 1.

    Args:
        text: t, raw, (C, D).
        visual: v, raw, (C, D); zeros for a class without images.
        logit_scale: s.
        beta: the weight of t; g has the weight 1 - beta; in [0, 1].
        text_share: a, the weight of the text graph; that of images has 1 - a; in [0, 1].
        groups: Q; there are at most C groups.
        seed: the seed of the initial Theta.
    """

    text: Tensor
    text_rows: Tensor
    image_rows: Tensor
    theta_text: Tensor
    theta_image: Tensor
    bias_text: Tensor
    bias_image: Tensor

    STAGE = ("beta",)

    def __init__(
        self,
        text: Tensor,
        visual: Tensor,
        logit_scale: float,
        *,
        beta: float,
        text_share: float,
        groups: int,
        seed: int,
    ):
        super().__init__(beta=beta, alpha=1.0)
        for name, value in (("BETA", beta), ("TEXT_SHARE", text_share)):
            if not 0 <= value <= 1:
                raise ValueError(f"TRAINER.GRAPHADAPTER.{name} is {value}, but it must be from 0 to 1.")
        if groups < 1:
            raise ValueError(f"TRAINER.GRAPHADAPTER.GROUPS is {groups}, but it must be 1 or more (authors: 4).")
        self.logit_scale, self.text_share = logit_scale, text_share
        groups = min(groups, len(text))
        self.frozen_buffer("text", text)
        self.frozen_buffer("text_rows", aggregate_row_zero(text, text, groups))
        self.frozen_buffer("image_rows", aggregate_row_zero(text, visual, groups))
        width = text.shape[1]
        bound = width**-0.5
        for name in ("text", "image"):
            generator = seeded_generator(seed, "GraphAdapter", name)
            theta = torch.empty(width, width).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"theta_{name}", nn.Parameter(theta))
            self.register_parameter(f"bias_{name}", nn.Parameter(torch.zeros_like(text)))

    def graph(self) -> Tensor:
        """g, (C, D)."""
        text = torch.tanh(self.text_rows @ self.theta_text + self.bias_text[:, None]).mean(1)
        image = torch.tanh(self.image_rows @ self.theta_image + self.bias_image[:, None]).mean(1)
        return self.text_share * text + (1 - self.text_share) * image

    def terms(self, features: Tensor) -> Mapping[str, Tensor]:
        """Unit features (B, D)."""
        return {"features": F.normalize(features, dim=-1)}

    def stage(self, terms: Mapping[str, Tensor], *, beta: float) -> Mapping[str, Tensor]:
        """Logits (B, C) at a beta."""
        return {"logits": self.logit_scale * terms["features"] @ self.classifier(beta).T}

    def classifier(self, beta: float) -> Tensor:
        """norm(beta t + (1 - beta) g), (C, D)."""
        return F.normalize(beta * self.text + (1 - beta) * self.graph(), dim=-1)

    def deployed(self) -> ClassifierHead:
        """The classifier as a constant, without the graphs."""
        return ClassifierHead(self.classifier(self.hparams["beta"]), self.hparams["alpha"] * self.logit_scale)

    def affine(self, stage: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A base of zeros, and the logits as the slope."""
        return torch.zeros_like(stage["logits"]), stage["logits"]


@TRAINER_REGISTRY.register()
class GraphAdapter(VLTrainer):
    """The method as a trainer.

    Table row:
        prediction: s f·norm(β b_c + (1 - β) g_c), g_c a graph convolution over texts and images
        learned: the convolutions
        parameters: 2*D*D + 2*C*D
        checked: authors' code, once; formula; the full graph
    """

    @classmethod
    def default_cfg(cls) -> CN:
        """BETA, TEXT_SHARE, GROUPS: arguments of the head. GRID: of the search, where alpha is always 1."""
        node = CN({"BETA": 0.7, "TEXT_SHARE": 0.7, "GROUPS": 4})
        node.GRID = CN({"BETA": [0.1, 1.0, 9], "ALPHA": [1.0, 2.0, 1]})
        return node

    def build_head(self, task: FewShotTask, cfg: CN) -> GraphAdapterHead:
        """Raw text features and the raw mean over all cached views of each class."""
        features, labels = task.support_features.mean(0).to(task.device), task.support_labels
        counts = torch.bincount(labels, minlength=task.num_classes).clamp(min=1)
        return GraphAdapterHead(
            task.text_features("template", averaging="mean"),
            class_sum(features.T, labels, task.num_classes, None).T / counts[:, None],
            task.logit_scale,
            beta=cfg.BETA,
            text_share=cfg.TEXT_SHARE,
            groups=cfg.GROUPS,
            seed=self.cfg.SEED,
        )
