"""A recorded list of upstream's public names against ours: each difference is listed, with its reason."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from dassl._upstream import ABSENT_MODULES, ABSENT_NAMES

UPSTREAM = json.loads(Path(__file__).with_name("upstream_names.json").read_text())

# Reason -> what upstream has and this engine refuses. The names that packages offer again are not repeated.
DIFFERENCES = {
    "trainers for domain adaptation: no few-shot work": {
        "dassl.engine.da": "ADDA AdaBN CDAC DAEL DANN M3SDA MCD MME SE SourceOnly",
    },
    "trainers for domain generalisation, but for the baseline": {
        "dassl.engine.dg": "CrossGrad DAELDG DDAIG DomainMix",
    },
    "trainers for semi-supervised learning: no few-shot work": {
        "dassl.engine.ssl": "EntMin FixMatch MeanTeacher MixMatch SupBaseline",
        "dassl.engine.ssl.fixmatch": "FixMatch",
    },
    "data sets of these trainers; a plugin brings its own": {
        "dassl.data.datasets.da": "CIFARSTL Digit5 DomainNet Office31 OfficeHome VisDA17 miniDomainNet",
        "dassl.data.datasets.dg": "CIFAR100C CIFAR10C Camelyon17 DigitSingle DigitsDG FMoW IWildCam "
        "OfficeHomeDG PACS VLCS",
        "dassl.data.datasets.ssl": "CIFAR10 CIFAR100 STL10 SVHN",
    },
    "networks that only these trainers use": {
        "dassl.modeling.backbone": "alexnet cnn_digit5_m3sda cnn_digitsdg cnn_digitsingle efficientnet_b0 "
        "efficientnet_b7 preact_resnet18 wide_resnet_16_4 wide_resnet_28_2",
        "dassl.modeling.network": "fcn_3x32_gctx fcn_3x32_gctx_stn fcn_3x64_gctx fcn_3x64_gctx_stn",
        "dassl.modeling.ops": "Conv2dDynamic",
    },
}
AGAIN = {
    "dassl.engine": ("dassl.engine.da", "dassl.engine.dg", "dassl.engine.ssl"),
    "dassl.data.datasets": ("dassl.data.datasets.da", "dassl.data.datasets.dg", "dassl.data.datasets.ssl"),
}


def left_out() -> set[tuple[str, str]]:
    pairs = {(m, n) for modules in DIFFERENCES.values() for m, names in modules.items() for n in names.split()}
    return pairs | {(package, n) for package, modules in AGAIN.items() for m, n in pairs if m in modules}


def has(module: str, name: str) -> bool:
    scope: dict[str, object] = {}
    try:
        exec(f"from {module} import {name}", scope)
    except ImportError as error:
        if "upstream Dassl 0.6.3" in str(error) and "https://github.com/KaiyangZhou/Dassl.pytorch" in str(error):
            return False
        raise
    return name in scope


@pytest.mark.parametrize("module", UPSTREAM)
def test_names_of_a_module(module):
    missing = {(module, name) for name in UPSTREAM[module] if not has(module, name)}
    assert missing == {pair for pair in left_out() if pair[0] == module}


def test_what_is_left_out_is_recorded():
    assert left_out() <= {(module, name) for module, names in UPSTREAM.items() for name in names}


STARRED = [m for m in UPSTREAM if not m.startswith(ABSENT_MODULES)]


@pytest.mark.parametrize("module", STARRED)
def test_star_import(module):
    """Upstream's modules have no `__all__`, so a star gives what they import themselves as well."""
    scope: dict[str, object] = {}
    exec(f"from {module} import *", scope)
    packages_and_tools = module.count(".") == 1 or module.startswith(("dassl.utils", "dassl.data.datasets.base"))
    if not packages_and_tools:
        expected = {n for n in UPSTREAM[module] if not n.startswith("_")} - {n for _, n in left_out()}
        lazy = {"BasicBlock", "Bottleneck", "model_urls", "Backbone", "BACKBONE_REGISTRY", "nn"}  # of one's own ResNet
        resnets = {n for n in expected if "_ms_" in n or "_efdmix_" in n}  # found by name
        assert expected - lazy - resnets <= scope.keys()


@pytest.mark.parametrize("module", ABSENT_MODULES)
def test_absent_modules_say_where_they_are(module):
    with pytest.raises(ModuleNotFoundError, match="part of upstream Dassl.*https://github.com"):
        importlib.import_module(module)
    with pytest.raises(ModuleNotFoundError, match="part of upstream Dassl"):
        importlib.import_module(f"{module}.anything")


def test_others_are_missing_as_usual():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'dassl\.engine\.foo'"):
        importlib.import_module("dassl.engine.foo")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'dassl\.engine\.sslx'"):
        importlib.import_module("dassl.engine.sslx")
    engine = importlib.import_module("dassl.engine")
    assert not hasattr(engine, "Foo")
    with pytest.raises(ImportError, match="cannot import name 'Foo'"):
        exec("from dassl.engine import Foo")


def test_absent_trainers_and_data_sets_by_name(cfg):
    from dassl.data.datasets import build_dataset
    from dassl.engine import build_trainer
    from dassl.modeling import build_backbone

    cfg.TRAINER.NAME, cfg.DATASET.NAME = "FixMatch", "PACS"
    for build, argument in ((build_trainer, cfg), (build_dataset, cfg), (build_backbone, "alexnet")):
        with pytest.raises(ValueError, match="part of upstream Dassl"):
            build(argument)
    cfg.TRAINER.NAME = "FixMtach"
    with pytest.raises(ValueError, match="not available") as caught:
        build_trainer(cfg)
    assert "upstream" not in str(caught.value)


def test_absent_names_are_not_offered():
    for package, names in ABSENT_NAMES.items():
        assert not any(has(package, name) for name in names)


def test_names_of_a_missing_package_fail_when_used(monkeypatch):
    """A star import works without scikit-learn, which only plugins use."""
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.delitem(vars(importlib.import_module("dassl.evaluation.evaluator")), "f1_score", raising=False)
    names: dict = {}
    exec("from dassl.evaluation.evaluator import *", names)
    with pytest.raises(ImportError, match="f1_score cannot be used.*Install"):
        names["f1_score"]([0], [0])
