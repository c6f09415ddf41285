"""The defaults of studies: methods and data sets, and the targets that a word stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.config_names import check_name, known
from simnl.data.listing import lasting_name
from simnl.declarations import declared
from simnl.fewshot.capabilities import CROSS
from simnl.runs.record import OWN_IMAGES
from simnl.runs.target_configs import check_other
from simnl.studies.cells import Setup, check_data

PAPER_DATASETS = (  # in the order of the paper's Table A1
    "caltech101", "dtd", "eurosat", "fgvc_aircraft", "oxford_flowers", "food101", "imagenet", "oxford_pets",
    "stanford_cars", "sun397", "ucf101",
)  # fmt: skip


def targets_of(dataset: str, names: str | Sequence[str], root: str = "") -> list[str]:
    """The targets that names stand for; `variants`: the data sets whose config name starts with the data set's.

    Args:
        names: a list, or a text with blanks or commas between.
        root: the data root, below which folders of one's own images may lie. The name of one that lies below the
            current folder becomes an absolute path.

    Raises:
        ValueError: a name is unknown, or the data set has no variants.
    """
    if names != "variants":
        each = names.replace(",", " ").split() if isinstance(names, str) else names
        return [_target_named(name, root) for name in each]
    if not variants_of(dataset):
        raise ValueError(f"{dataset} has no shifted variants; imagenet and shapes have.")
    return variants_of(dataset)


def _target_named(name: str, root: str) -> str:
    if name.startswith(CROSS):
        other = name.removeprefix(CROSS)
        is_folder = check_other(root, other) == OWN_IMAGES
        return f"{CROSS}{lasting_name(other, root)}" if is_folder else name
    return check_name("datasets", name)


def variants_of(dataset: str) -> list[str]:
    """The data sets whose config name starts with this one's."""
    return [name for name in known("datasets") if name.startswith(dataset) and name != dataset]


def default_datasets(setup: Setup, task: str = "few-shot") -> list[str]:
    """Those of the paper's eleven data sets that are on the disk and suit the task; `shapes` if there are none."""
    sources = {"dg": [name for name in PAPER_DATASETS if variants_of(name)], "cross": ["imagenet"]}
    return [name for name in sources.get(task, PAPER_DATASETS) if _has_data(setup, name)] or ["shapes"]


def other_datasets(setup: Setup, dataset: str) -> list[str]:
    """Those of the paper's eleven data sets that are on the disk, without this one."""
    return [name for name in PAPER_DATASETS if name != dataset and _has_data(setup, name)]


def _has_data(setup: Setup, dataset: str) -> bool:
    root = Path(setup.data).expanduser()
    if not root.is_dir():
        return False
    try:
        check_data(setup, dataset)
    except (OSError, ValueError):
        return False
    return True


def default_methods() -> list[str]:
    """The methods that work on cached features: all that neither change a tower nor learn its inputs."""
    found = declared()
    pairs = [(name, found[name]) for name in known("trainers")]
    return [name for name, method in pairs if method.image_encoder_frozen and method.text_features_cached]
