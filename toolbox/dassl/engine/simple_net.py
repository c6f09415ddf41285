"""The model of trainers that bring none."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from dassl.modeling import build_backbone, build_head

__all__ = ["SimpleNet"]


class SimpleNet(nn.Module):
    """Backbone, then a head if one is configured, then a linear classifier.

    Args:
        cfg: configuration, of which VERBOSE is read.
        model_cfg: the node `cfg.MODEL`; the head is built if HEAD.NAME and HEAD.HIDDEN_LAYERS are set.
        num_classes: width of the classifier; 0 for none.
        kwargs: for the backbone.

    Attributes:
        fdim: number of features before the classifier.
    """

    def __init__(self, cfg: CfgNode, model_cfg: CfgNode, num_classes: int, **kwargs: Any):
        super().__init__()
        self.backbone = build_backbone(
            model_cfg.BACKBONE.NAME, verbose=cfg.VERBOSE, pretrained=model_cfg.BACKBONE.PRETRAINED, **kwargs
        )
        fdim: Any = self.backbone.out_features
        head = model_cfg.HEAD
        self.head = None
        if head.NAME and head.HIDDEN_LAYERS:
            self.head = build_head(
                head.NAME,
                verbose=cfg.VERBOSE,
                in_features=fdim,
                hidden_layers=head.HIDDEN_LAYERS,
                activation=head.ACTIVATION,
                bn=head.BN,
                dropout=head.DROPOUT,
            )
            fdim = self.head.out_features
        self.classifier = nn.Linear(fdim, num_classes) if num_classes > 0 else None
        self._fdim = fdim

    @property
    def fdim(self) -> int:
        """Number of features before the classifier."""
        return self._fdim

    def forward(self, x: Tensor, return_feature: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> logits (B, C), and with `return_feature` also features (B, fdim).

        Without a classifier the features are returned.
        """
        features = self.backbone(x)
        if self.head is not None:
            features = self.head(features)
        if self.classifier is None:
            return features
        logits = self.classifier(features)
        return (logits, features) if return_feature else logits
