"""Make a frozen convolutional image tower faster without changing what it computes, except for rounding.

The batch norms of a frozen tower are constant affine maps, so they can be folded into the convolutions before them, and
convolutions are faster on channels-last memory. docs/performance.md has the measurements.
"""

from __future__ import annotations

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def tune(model: nn.Module) -> nn.Module:
    """Fold and re-lay the image tower of a CLIP in evaluation mode, in place, if it is CLIP's ResNet.

    Its state dict changes, so weights must be loaded and fingerprints computed before. Other towers are not changed.
    """
    if isinstance(model.visual, ModifiedResNet):
        fold_batch_norms(model.visual)
        model.visual.to(memory_format=torch.channels_last)
    return model


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution declared before it (open_clip's ResNet declares them in pairs)."""
    convolution = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = name
        elif isinstance(child, nn.BatchNorm2d):
            setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
