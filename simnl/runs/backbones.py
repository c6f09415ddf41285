"""The backbone that a run uses: a name of configs/backbones, one of open_clip's own names, or `auto`."""

from __future__ import annotations

import difflib
import functools
import logging
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from simnl.clip.architectures import is_known
from simnl.config_names import config_file, known
from simnl.fewshot.capabilities import check_choices
from simnl.runs.config import ConfigError
from simnl.runs.yaml_files import read_yaml

log = logging.getLogger(__name__)

PAPER_BACKBONE = "rn50"
TINY_BACKBONE = "tiny"


def backbone_names() -> list[str]:
    """Config names of the backbones."""
    return known("backbones")


def backbone_settings(name: str, weights: str = "") -> tuple[list[Path], dict]:
    """Config files and settings of a backbone.

    Args:
        name: a config name (any spelling: `rn50`, `RN50`, `ViT-B/32`), or an open_clip architecture.
        weights: a weights tag or a checkpoint's path, in the place of the config's weights.

    Raises:
        ConfigError: there is no such backbone, or `name` is an open_clip architecture and no weights are given.
    """
    settings = {"MODEL.BACKBONE.WEIGHTS": weights} if weights else {}
    slug = name.lower().replace("/", "").replace("-", "_")
    by_slug = {stem.replace("_", ""): stem for stem in backbone_names()}
    if slug.replace("_", "") in by_slug:
        return [config_file("backbones", by_slug[slug.replace("_", "")])], settings
    arch = name.replace("/", "-")
    import open_clip  # imported late, as below: it imports PyTorch, which finished runs of a named backbone do not need

    if arch in open_clip.list_models():
        if not weights:
            tags = open_clip.list_pretrained_tags_by_model(arch)
            raise ConfigError(f"BACKBONE {name} needs WEIGHTS: a checkpoint's path, or one of open_clip's tags {tags}.")
        return [], {**settings, "MODEL.BACKBONE.NAME": arch, "MODEL.BACKBONE.ARCH": arch}
    near = difflib.get_close_matches(slug, backbone_names(), n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(
        f"Unknown backbone '{name}'.{hint} Valid: {', '.join(backbone_names())}, or any open_clip architecture with "
        "WEIGHTS."
    )


def is_for_tiny(dataset: str) -> bool:
    """Whether a data set, by config or registry name, shows what the bundled tiny CLIP knows: `shapes` and variants."""
    return dataset.lower().startswith("shapes")


def warn_of_tiny(reason: str, otherwise: str) -> None:
    """Say loudly that a run on other data than `shapes` uses the bundled tiny CLIP, though nobody asked for it."""
    log.warning(
        "\n*** %s\n*** This run uses the BUNDLED TINY CLIP instead. It shows that everything works, but its accuracies "
        "mean nothing.\n*** %s\n",
        reason,
        otherwise,
    )


def check_early(cfg: CN) -> None:
    """Check shared keys and the weights before the data are read, so that a wrong value does not end the run later.

    Raises:
        ValueError: the message names the key, its value, and the values that it can have.
    """
    check_choices(cfg)
    backbone = cfg.MODEL.BACKBONE
    if (backbone.ARCH, backbone.WEIGHTS) in _declared() or is_known(backbone.ARCH, backbone.WEIGHTS):
        return
    from simnl.clip.model import check_known

    check_known(backbone.ARCH, backbone.WEIGHTS)


@functools.cache
def _declared() -> set[tuple[str, str]]:
    """The pairs of architecture and weights in the configs of backbones. A test compares each with open_clip."""
    bodies: list[Any] = [read_yaml(config_file("backbones", name)) for name in backbone_names()]
    nodes = [body.get("MODEL", {}).get("BACKBONE", {}) for body in bodies]
    return {(node.get("ARCH", ""), node.get("WEIGHTS", "")) for node in nodes}


def resolve_auto(dataset: str) -> str:
    """`shapes` and its variants use the bundled tiny CLIP; other data sets the paper's ResNet-50.

    If the weights of the ResNet-50 are not on this machine and cannot be downloaded, the tiny CLIP takes its place with
    a warning. The pipeline then runs, and every figure names its backbone.
    """
    if is_for_tiny(dataset):
        return TINY_BACKBONE
    from simnl.clip.fetching import WeightsUnavailable, fetch_weights

    body: Any = read_yaml(config_file("backbones", PAPER_BACKBONE))
    backbone = body["MODEL"]["BACKBONE"]
    try:
        fetch_weights(backbone["ARCH"], backbone["WEIGHTS"])
    except WeightsUnavailable as error:
        warn_of_tiny(
            str(error).splitlines()[0],
            "With the weights in a file: WEIGHTS=/path/to/RN50.pt BACKBONE=rn50. To use the tiny CLIP without this "
            "warning: BACKBONE=tiny.",
        )
        return TINY_BACKBONE
    return PAPER_BACKBONE
