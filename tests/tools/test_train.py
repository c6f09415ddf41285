"""tools/train.py: the tiny CLIP on photographs is a warning there, too, unless it was asked for."""

from __future__ import annotations

import sys

import pytest
import train

from helpers.images import make_images
from simnl.clip import fetching
from simnl.clip.fetching import WeightsUnavailable
from simnl.locations import CONFIGS
from simnl.runs import backbones

WARNING = (
    "This run uses the BUNDLED TINY CLIP instead. It shows that everything works, but its accuracies mean nothing."
)


def warned(caplog, *options: str, dataset: str = "imagefolder") -> bool:
    caplog.clear()
    args = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", str(CONFIGS / "datasets" / f"{dataset}.yaml")]
    args = train.build_parser().parse_args([*args, *options])
    train.check_backbone(args, train.config_from(args))
    return WARNING in caplog.text


def test_who_is_warned(caplog):
    assert warned(caplog)
    assert "--backbone-config-file configs/backbones/rn50.yaml" in caplog.text
    assert warned(caplog, dataset="dtd")
    for dataset in ("shapes", "shapes_noise"):
        assert not warned(caplog, dataset=dataset)
    for name in ("tiny", "rn50"):
        assert not warned(caplog, "--backbone-config-file", str(CONFIGS / "backbones" / f"{name}.yaml"))
    assert not warned(caplog, "MODEL.BACKBONE.ARCH", "ViT-B-32-quickgelu", "MODEL.BACKBONE.WEIGHTS", "openai")


def test_the_scripts_give_the_same_warning(caplog, monkeypatch):
    def unavailable(*_):
        raise WeightsUnavailable("no network")

    monkeypatch.setattr(fetching, "fetch_weights", unavailable)
    assert backbones.resolve_auto("shapes_outline") == "tiny"
    assert not caplog.text
    assert backbones.resolve_auto("dtd") == "tiny"
    assert WARNING in caplog.text


def test_it_is_in_the_log_of_the_run(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        make_images(tmp_path / "mine" / name, 6)
    options = [
        "--output-dir",
        str(tmp_path / "run"),
        "DATASET.FOLDER",
        str(tmp_path / "mine"),
        "DATASET.NUM_SHOTS",
        "1",
    ]
    config = str(CONFIGS / "datasets" / "imagefolder.yaml")
    arguments = ["train.py", "--trainer", "ZeroshotCLIP", "--dataset-config-file", config, "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", [*arguments, "STORE.ROOT", str(tmp_path / "store"), "DATALOADER.NUM_WORKERS", "0"])
    assert train.main() == 0
    assert WARNING in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("name", ["Shapes", "shapes", "ShapesNoise"])
def test_names_of_both_kinds(name):
    assert backbones.is_for_tiny(name)
    assert not backbones.is_for_tiny(f"my_{name}")
