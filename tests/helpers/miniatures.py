"""Every data set in its own layout, small, with rendered images (`build`), and how to load it (`load`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase
from simnl.data.splits import Item, Split
from simnl.plugins import load_plugins

# The fixtures, for the conftest.py of folders whose tests use them.
__all__ = [
    "build", "evaluated", "flat", "json_name", "load", "root", "sampler", "shared", "small_split", "store", "trained",
]  # fmt: skip

SHARED = Path(__file__).resolve().parents[3] / "shared"
PER_CLASS = {"train": 6, "val": 5, "test": 2}
WNIDS = {"n01440764": "tench", "n04008634": "missile", "n03773504": "missile", "n01443537": "goldfish"}


@dataclass
class Built:
    """What a layout holds: (path below the image folder, label, class name) by part."""

    folder: Path
    images: Path
    parts: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class JsonLayout:
    """A data set with a split file: its classes in label order, each with the pattern of its paths."""

    folder: str
    images: str
    split_file: str
    classes: dict[str, str]
    label_order: Sequence[int] = (0, 1, 2)  # in which labels appear in the split file


JSON_LAYOUTS = {
    name: JsonLayout(**fields)
    for name, fields in json.loads(Path(__file__).with_name("layouts.json").read_text(encoding="utf-8")).items()
}
TRAINED = [*JSON_LAYOUTS, "FGVCAircraft", "Food101N", "ImageNet", "ImageFolder"]
EVALUATED = ["ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"]


def render(path: Path, shade: int = 0) -> None:
    """An 8 x 8 image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade * 37 % 256, shade * 91 % 256, 128)).save(path, "JPEG")


def numbered(pattern: str, part: str, number: int) -> str:
    """A class's path pattern filled in; cars have a folder for training and one for test."""
    if pattern.count("{}") == 2:
        return pattern.format("test" if part == "test" else "train", number)
    return pattern.format(number)


def json_parts(layout: JsonLayout) -> dict[str, list[tuple[str, int, str]]]:
    classes = list(layout.classes.items())
    return {
        part: [
            (numbered(classes[label][1], part, 10 * shift + number), label, classes[label][0])
            for label in layout.label_order
            for number in range(count)
        ]
        for shift, (part, count) in enumerate(PER_CLASS.items())
    }


def build_json(name: str, root: Path) -> Built:
    layout = JSON_LAYOUTS[name]
    built = Built(root / layout.folder, root / layout.folder / layout.images, json_parts(layout))
    for items in built.parts.values():
        for path, label, _ in items:
            render(built.images / path, label)
    write_split_json(built)
    return built


def write_split_json(built: Built) -> None:
    name = next(layout.split_file for layout in JSON_LAYOUTS.values() if layout.folder == built.folder.name)
    (built.folder / name).write_text(json.dumps(built.parts), encoding="utf-8")


def build_aircraft(root: Path) -> Built:
    built = Built(root / "fgvc_aircraft", root / "fgvc_aircraft" / "images")
    variants = ["707-320", "F/A-18", "Boeing 717"]
    for shift, (part, count) in enumerate(PER_CLASS.items()):
        built.parts[part] = [
            (f"{label:03d}{shift}{number:03d}.jpg", label, name)
            for label, name in enumerate(variants)
            for number in range(count)
        ]
        for path, label, _ in built.parts[part]:
            render(built.images / path, label)
        lines = [f"{path.removesuffix('.jpg')} {name}\n" for path, _, name in built.parts[part]]
        (built.folder / f"images_variant_{part}.txt").write_text("".join(lines))
    (built.folder / "variants.txt").write_text("\n".join(variants) + "\n")
    return built


def build_food101n(root: Path) -> Built:
    """The folders of Food-101N beside those of Food101, whose test part it has."""
    test = build_json("Food101", root)
    built = Built(root / "food-101n", root)
    names = {label: name for _, label, name in test.parts["test"]}
    built.parts["train"] = [
        (f"food-101n/images/{name}/{number}.jpg", label, name)
        for label, name in sorted(names.items())
        for number in range(6)
    ]
    for path, label, _ in built.parts["train"]:
        render(root / path, label)
    built.parts["test"] = [(f"food-101/images/{path}", label, name) for path, label, name in test.parts["test"]]
    return built


def build_imagenet(root: Path) -> Built:
    built = Built(root / "imagenet", root / "imagenet" / "images")
    for part, folder, count in (("train", "train", 6), ("test", "val", 2)):
        built.parts[part] = [
            (f"{folder}/{wnid}/{wnid}_{number}.JPEG", label, WNIDS[wnid])
            for label, wnid in enumerate(sorted(WNIDS))
            for number in range(count)
        ]
        for path, label, _ in reversed(built.parts[part]):  # on disk in another order than by name
            render(built.images / path, label)
    write_classnames(built.folder)
    return built


def write_classnames(folder: Path) -> None:
    lines = [f"{wnid} {name}\n" for wnid, name in sorted(WNIDS.items())]
    (folder / "classnames.txt").write_text("".join(lines))


def build_evaluated(name: str, root: Path) -> Built:
    """An ImageNet variant; ImageNet-A and -R have two of the four classes, and a stray README."""
    folder, images = {
        "ImageNetV2": ("imagenetv2", "imagenetv2-matched-frequency-format-val"),
        "ImageNetSketch": ("imagenet-sketch", "images"),
        "ImageNetA": ("imagenet-adversarial", "imagenet-a"),
        "ImageNetR": ("imagenet-rendition", "imagenet-r"),
    }[name]
    built = Built(root / folder, root / folder / images)
    wnids = sorted(WNIDS) if name in ("ImageNetV2", "ImageNetSketch") else sorted(WNIDS)[1::2]
    folders = [str(label) for label in range(4)] if name == "ImageNetV2" else wnids
    built.parts["test"] = [
        (f"{inside}/{number}.jpeg", label, WNIDS[wnid])
        for label, (inside, wnid) in enumerate(zip(folders, wnids, strict=True))
        for number in range(3)
    ]
    for path, label, _ in built.parts["test"]:
        render(built.images / path, label)
    (built.images / "README.txt").write_text("not a class")
    write_classnames(built.folder)
    return built


def build_folders(root: Path) -> Built:
    """`ImageFolder` with its three folders; a name of a class comes from classnames.txt."""
    built = Built(root / "mine", root / "mine")
    for part, count in PER_CLASS.items():
        built.parts[part] = [
            (f"{part}/{folder}/{number}.png", label, name)
            for label, (folder, name) in enumerate([("big cat", "big cat"), ("x1", "steam engine")])
            for number in range(count)
        ]
        for path, label, _ in built.parts[part]:
            render(built.images / path, label)
    (built.folder / "classnames.txt").write_text("big cat, big cat\nx1, steam engine\n")
    return built


def build_layout(name: str, root: Path) -> Built:
    """The data set `name` below `root`, in the layout its authors or CoOp give it."""
    if name in JSON_LAYOUTS:
        return build_json(name, root)
    if name in EVALUATED:
        return build_evaluated(name, root)
    builders = {"FGVCAircraft": build_aircraft, "ImageNet": build_imagenet, "ImageFolder": build_folders}
    return (builders | {"Food101N": build_food101n})[name](root)


def make_config(root: Path, store: Path, **settings: object) -> CfgNode:
    """The keys that data sets read; `settings` are keys of DATASET, or SEED, PRESET and PROTOCOL."""
    cfg = get_cfg_default()
    cfg.PROTOCOL = settings.pop("PROTOCOL", "fewshot-val")
    cfg.SEED, cfg.PRESET = settings.pop("SEED", 1), settings.pop("PRESET", "repaired")
    cfg.STORE = CfgNode({"ROOT": str(store)})
    given = {
        "ROOT": str(root),
        "NUM_SHOTS": 2,
        "SUBSAMPLE_CLASSES": "all",
        "SPLIT_FILE": "",
        "FOLDER": "mine",
        "CLASSNAMES_FILE": "",
    }
    given |= {"NEW_SPLIT": False, "VAL_FRACTION": 0.2, "TEST_FRACTION": 0.3}
    given |= {"LABEL_NOISE": 0.0, "NOISE_RULE": "bernoulli", "NOISE_PAIRS": "", "NOISY_SELECTION": False}
    for key, value in (given | settings).items():
        cfg.DATASET[key] = value
    cfg.freeze()
    return cfg


@pytest.fixture(params=JSON_LAYOUTS)
def json_name(request) -> str:
    """Each data set with a split file."""
    return request.param


@pytest.fixture(params=TRAINED)
def trained(request) -> str:
    """Each data set with training images."""
    return request.param


@pytest.fixture(params=EVALUATED)
def evaluated(request) -> str:
    """Each data set with test images only."""
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def build(root: Path):
    """`build(name)` writes the layout and returns what it holds."""
    return lambda name: build_layout(name, root)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The cache folder of `load`."""
    return tmp_path / "store"


@pytest.fixture
def load(root: Path, store: Path):
    """`load(name, NUM_SHOTS=4, ...)` constructs the data set, its cache in a folder of its own."""
    load_plugins()
    return lambda name, **settings: DATASET_REGISTRY.get(name)(
        make_config(settings.pop("ROOT", root), store, **settings)
    )


@pytest.fixture
def flat(root):
    """One level of class folders with 10, 11 and 12 images; the folder of the last is named like a part."""
    for number, name in enumerate(("cat", "steam engine", "train")):
        for image in range(10 + number):
            path = root / "mine" / name / f"{image}.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, image, 0)).save(path, "PNG")
    (root / "mine" / "cat" / "notes.txt").write_text("not an image")
    (root / "mine" / ".hidden").mkdir()
    return root / "mine"


@pytest.fixture(scope="session")
def small_split():
    """`small_split(per_class, val)`: a split without files; `val` None leaves the validation part out."""

    def items(part: str, counts: Sequence[int]) -> list[Item]:
        return [
            Item(f"c{label}/{part}{n}.jpg", label, f"class {label}")
            for label, count in enumerate(counts)
            for n in range(count)
        ]

    def make(per_class: Sequence[int] = (8, 8, 8), val: int | None = 5) -> Split:
        count = len(per_class)
        return Split(
            items("train", per_class),
            None if val is None else items("val", [val] * count),
            items("test", [2] * count),
        )

    return make


@pytest.fixture(scope="session")
def sampler():
    """The engine's few-shot sampler, without a data set."""
    return DatasetBase.__new__(DatasetBase).generate_fewshot_dataset


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real splits and draws."""
    if not (SHARED / "real").is_dir():
        pytest.skip(f"no real splits at {SHARED / 'real'}: only the small layouts are checked")
    return SHARED
