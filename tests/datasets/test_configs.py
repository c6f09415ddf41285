"""The yaml of each data set: it names a registered class, and its prompts are the paper's."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset
from simnl.plugins import load_plugins

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "datasets"
NAMES = [
    *(
        "caltech101",
        "dtd",
        "eurosat",
        "fgvc_aircraft",
        "oxford_flowers",
        "food101",
        "imagenet",
        "oxford_pets",
    ),
    *("stanford_cars", "sun397", "ucf101", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
]
IMAGENETS = [name for name in NAMES if name.startswith("imagenet")]


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def templates(name: str) -> dict[str, list[str]]:
    """All template lists of a file, the official ones under "official POSITIVE" and so on."""
    content = read(name)
    found = {sign: content["PROMPTS"][sign] for sign in ("POSITIVE", "NEGATIVE")}
    for override in content.get("OVERRIDES", []):
        assert override["WHEN"] == {"PRESET": ["official"], "TRAINER.NAME": ["SimNL"]}
        found |= {f"official {key.removeprefix('PROMPTS.')}": value for key, value in override["SET"].items()}
    return found


@pytest.mark.parametrize("name", [*NAMES, "food101n", "imagefolder"])
def test_file(name):
    load_plugins()
    content = read(name)
    dataset = DATASET_REGISTRY.get(content["DATASET"]["NAME"])
    assert issubclass(dataset, FewShotDataset)
    if name != "imagefolder":
        assert dataset.config_name == name
        assert content["PROMPTS"]["CUPL"].startswith("CuPL_prompts_")
    for texts in templates(name).values():
        assert len(texts) == len(set(texts)) > 0
        assert all(text.count("{}") == 1 and text.replace("{}", "").isprintable() for text in texts)
        assert all("{" not in text.replace("{}", "") for text in texts)


def test_every_data_set_has_a_config():
    load_plugins()
    configured = {read(path.stem)["DATASET"]["NAME"] for path in FOLDER.glob("*.yaml")}
    ours = {
        name
        for name in DATASET_REGISTRY.registered_names()
        if issubclass(DATASET_REGISTRY.get(name), FewShotDataset)
        and DATASET_REGISTRY.get(name).__module__.startswith("datasets.")
    }
    assert ours <= configured


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_the_papers(name, shared):
    expected = defaultdict(list)
    with open(shared / "paper" / "table_c5_prompts.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if name in row["datasets"].split():
                expected["POSITIVE"].append(row["positive"])
                expected["NEGATIVE"].append(row["negative"])
    found = templates(name)
    assert {sign: found[sign] for sign in ("POSITIVE", "NEGATIVE")} == expected


def test_official_prompts():
    """8 positive and 14 negative templates for ImageNet and its variants, 2 and 2 for three others."""
    counts = {
        name: (len(found["official POSITIVE"]), len(found["official NEGATIVE"]))
        for name in NAMES
        if "official POSITIVE" in (found := templates(name))
    }
    assert counts == dict.fromkeys(IMAGENETS, (8, 14)) | dict.fromkeys(["eurosat", "stanford_cars", "ucf101"], (2, 2))
    for name in counts:
        found = templates(name)
        assert found["official POSITIVE"][: len(found["POSITIVE"])] == found["POSITIVE"]
    assert len({str(templates(name)) for name in IMAGENETS}) == 1


def test_only_the_official_preset_has_a_template_that_is_positive_and_negative():
    for name in NAMES:
        found = templates(name)
        assert not set(found["POSITIVE"]) & set(found["NEGATIVE"])
        both = set(found.get("official POSITIVE", [])) & set(found.get("official NEGATIVE", []))
        assert len(both) == (name == "ucf101")


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_the_papers(name, shared):
    load_plugins()
    with open(shared / "paper" / "table_c4_datasets.csv", encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["dataset"] == name)
    sizes = DATASET_REGISTRY.get(read(name)["DATASET"]["NAME"]).published
    assert (sizes.classes, sizes.train, sizes.val, sizes.test) == tuple(
        int(row[key] or 0) for key in ("classes", "train", "val", "test")
    )


def test_the_prompts_of_food101n_are_those_of_food101():
    assert read("food101n")["PROMPTS"] == read("food101")["PROMPTS"]
