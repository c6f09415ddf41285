"""What tables and figures call a method or a data set: `DISPLAY_NAME` in its yaml, else the name that records have."""

from __future__ import annotations

from functools import cache

from simnl.config_names import config_files
from simnl.runs.yaml_files import read_yaml

KEY = "DISPLAY_NAME"
NOT_OURS = {"TipX": "Tip-X"}  # methods with published figures that have no yaml here


def display_name(method: str) -> str:
    """`Tip-Adapter-F` of `TipAdapterF`; a method without a yaml, or without the key in it, keeps its name."""
    return NOT_OURS.get(method) or _declared("trainers", method)


def dataset_name(dataset: str) -> str:
    """`ImageNet` of `imagenet`; `ImageNet -> ImageNet-V2` of a source and its target; `DTD@0a1b2c3d` of a split."""
    return " -> ".join(_of_split(part) for part in dataset.split(" -> "))


def _of_split(dataset: str) -> str:
    name, at, split = dataset.partition("@")
    return _declared("datasets", name) + at + split


@cache
def _declared(kind: str, name: str) -> str:
    files = config_files(kind)
    if name not in files:
        return name
    try:
        body = read_yaml(files[name])
    except (OSError, ValueError):  # a run with this yaml says what is wrong; a table needs a name
        return name
    return str(body.get(KEY) or name) if isinstance(body, dict) else name
