"""SimpleNet, its heads, and torchvision's networks as backbones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dassl.engine import SimpleNet
from dassl.modeling import build_backbone, build_head, build_network


def test_simple_net(cfg):
    cfg.MODEL.BACKBONE.NAME = "toolbox_tiny"
    plain = SimpleNet(cfg, cfg.MODEL, 3)
    images = torch.rand(2, 3, 16, 16)
    logits, features = plain(images, return_feature=True)
    assert (plain.fdim, features.shape, logits.shape) == (768, (2, 768), (2, 3))
    assert torch.equal(plain(images), logits)
    cfg.MODEL.HEAD.NAME = "mlp"
    assert SimpleNet(cfg, cfg.MODEL, 3).head is None  # no layers named
    cfg.MODEL.HEAD.HIDDEN_LAYERS, cfg.MODEL.HEAD.DROPOUT = [8, 4], 0.5
    net = SimpleNet(cfg, cfg.MODEL, 0)
    assert net.fdim == 4
    assert net(images).shape == (2, 4)
    kinds = [type(layer).__name__ for layer in net.head.mlp]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2


def test_head_settings():
    head = build_head("mlp", verbose=False, in_features=4, hidden_layers=5, activation="leaky_relu", bn=False)
    assert [type(layer).__name__ for layer in head.mlp] == ["Linear", "LeakyReLU"]
    with pytest.raises(ValueError, match="HIDDEN_LAYERS"):
        build_head("mlp", verbose=False)
    with pytest.raises(ValueError, match=r"gelu.*relu"):
        build_head("mlp", verbose=False, hidden_layers=[5], activation="gelu")
    with pytest.raises(ValueError, match="nothing"):
        build_network("none")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions(name):
    from torchvision import models

    backbone = build_backbone(name, verbose=False, pretrained=False).eval()
    reference = getattr(models, name)(weights=None).eval()
    assert backbone.out_features == reference.fc.in_features
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    backbone.load_state_dict(state)
    reference.fc = nn.Identity()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images), reference(images))


def test_vgg_is_torchvisions(monkeypatch):
    """With small layers in place of the real ones, which hold 138 million parameters."""
    from torchvision import models

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.avgpool = nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(2)
            self.classifier = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 10))

    monkeypatch.setattr(models, "vgg16", lambda weights: Small())
    backbone = build_backbone("vgg16", verbose=False, pretrained=False)
    assert backbone.out_features == 6
    assert backbone(torch.rand(2, 3, 8, 8)).shape == (2, 6)
