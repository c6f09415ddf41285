"""The names of methods and data sets in tables and figures: `DISPLAY_NAME` in the yaml, else the name in records."""

from __future__ import annotations

from functools import cache

from simnl.config_names import config_files
from simnl.fewshot.capabilities import CROSS
from simnl.runs.yaml_files import read_yaml

KEY = "DISPLAY_NAME"
NOT_OURS = {"TipX": "Tip-X"}  # methods with published figures that have no yaml here


def display_name(method: str) -> str:
    """The display name of a method: `Tip-Adapter-F` for `TipAdapterF`. Without one, the method keeps its own name."""
    return NOT_OURS.get(method) or _declared("trainers", method)


def dataset_name(dataset: str) -> str:
    """The display name of a data set: `ImageNet` for `imagenet`, and `DTD@0a1b2c3d` for a split of one.

    A source and its target are `ImageNet -> ImageNet-V2`, or with other classes `ImageNet -> DTD (other classes)`.
    """
    return " -> ".join(_of_split(part) for part in dataset.split(" -> "))


def _of_split(dataset: str) -> str:
    name, at, split = dataset.removeprefix(CROSS).partition("@")
    return _declared("datasets", name) + at + split + (" (other classes)" if dataset.startswith(CROSS) else "")


@cache
def _declared(kind: str, name: str) -> str:
    files = config_files(kind)
    if name not in files:
        return name
    try:
        body = read_yaml(files[name])
    except (OSError, ValueError):  # runs with this yaml report the error; a table only needs a name
        return name
    return str(body.get(KEY) or name) if isinstance(body, dict) else name
