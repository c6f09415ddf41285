"""Stand-ins of the paper's eleven data sets at their real sizes: layouts of tiny files, and synthetic features of
ResNet-50's width in the feature store. A command runs on them as on the real ones, and encodes nothing.

The files are no images: each holds its own name, so that all differ, and none is ever decoded.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from dassl.engine import TRAINER_REGISTRY
from simnl.clip.prompts import encode_prompt_sets
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.config_names import config_file
from simnl.data.digests import FileDigests
from simnl.fewshot.inputs import load_backbone
from simnl.fewshot.selection import selection_images
from simnl.fewshot.support import gather_support, train_views
from simnl.plugins import load_plugins
from simnl.runs.config import assemble

PARTS = ("train", "val", "test")
SENTENCES = {  # CuPL sentences per class, about as many as the published files have
    "caltech101": 34, "dtd": 60, "eurosat": 20, "fgvc_aircraft": 20, "oxford_flowers": 30, "food101": 29,
    "imagenet": 50, "oxford_pets": 36, "stanford_cars": 60, "sun397": 30, "ucf101": 18,
}  # fmt: skip
MOST_PER_CLASS = 64  # training images that are laid out of a class: ImageNet's draws need 20 of 1,281
BATCH = 20000  # rows that are written at once


def lay_out(root: Path, name: str, shrink: int = 1) -> None:
    """The files of a data set below `root`, with its published numbers of classes and images.

    shrink: what the numbers of images are divided by, for tests; a class keeps at least 24 of each part.
    """
    load_plugins()
    kind = DATASET_REGISTRY.get(_registered(name))
    sizes, folder = kind.published, root / kind.dataset_dir
    classes = [f"thing {number:04d}" for number in range(sizes.classes)]
    if folder.is_dir():
        return
    images = folder / kind.image_dir
    parts = {
        part: _spread(max(24 * sizes.classes, _number(sizes, part) // shrink), sizes.classes, part)
        for part in PARTS
        if getattr(sizes, part)
    }
    if name == "imagenet":
        places = {"train": "train", "test": "val"}
        parts = {p: [(f"{places[p]}/n{label:08d}/{file}", label) for file, label in parts[p]] for p in parts}
        folder.mkdir(parents=True)
        names = [f"n{label:08d} {classname}" for label, classname in enumerate(classes)]
        (folder / "classnames.txt").write_text("\n".join(names) + "\n")
    for path, _ in (pair for pairs in parts.values() for pair in pairs):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        (images / path).write_text(path)
    if name == "fgvc_aircraft":
        (folder / "variants.txt").write_text("\n".join(classes) + "\n")
        for part in PARTS:
            lines = [f"{path.removesuffix('.jpg')} {classes[label]}" for path, label in parts[part]]
            (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")
    elif kind.split_file:
        content = {part: [[path, label, classes[label]] for path, label in parts[part]] for part in PARTS}
        (folder / kind.split_file).write_text(json.dumps(content))
    sentences = {c: [f"A {c} of the kind {n}." for n in range(SENTENCES[name])] for c in classes}
    cupl = root / "gpt3_prompts" / assemble([config_file("datasets", name)]).PROMPTS.CUPL
    cupl.parent.mkdir(exist_ok=True)
    cupl.write_text(json.dumps(sentences))


def _number(sizes, part: str) -> int:
    return min(sizes.train, MOST_PER_CLASS * sizes.classes) if part == "train" else getattr(sizes, part)


def _spread(count: int, classes: int, part: str) -> list[tuple[str, int]]:
    """(file name, label), as many of each class as can be, sorted by label."""
    each = [count // classes + (label < count % classes) for label in range(classes)]
    return [
        (f"{part}_{label:04d}_{number:05d}.jpg", label) for label, most in enumerate(each) for number in range(most)
    ]


def _registered(name: str) -> str:
    return assemble([config_file("datasets", name)]).DATASET.NAME


def write_weights(path: Path) -> None:
    """A ResNet-50 CLIP with random weights and the published logit scale of 100."""
    if not path.is_file():
        torch.manual_seed(0)
        model = open_clip.create_model("RN50-quickgelu", precision="fp32")
        with torch.no_grad():
            model.logit_scale.fill_(torch.tensor(100.0).log())
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)


class SyntheticStore(FeatureStore):
    """A store that makes up what is missing: rows of a class have a direction in common, images and texts each a cone.
    What an image has of other classes' directions makes methods err, and their searches long.

    A row is a function of its content and view, so that it does not matter in which order rows are made.
    """

    def use(self, labels: dict[str, int], classes: int, group: str) -> None:
        """The labels of images by path, and which data set it is."""
        self._labels, self._group = labels, group
        self._classes = classes

    def _meaning(self, width: int) -> tuple[Tensor, Tensor, Tensor]:
        g = _generator(self._group, width)
        meaning = torch.randn(self._classes, width, generator=g)
        cones = torch.randn(2, width, generator=g)
        return F.normalize(meaning, dim=-1), *F.normalize(cones, dim=-1)

    def _encode(self, database, files, spec) -> dict[str, bytes]:
        meaning, cone, _ = self._meaning(database.dim)
        digests = FileDigests(self.root).of([file.path for file in files])
        for start in range(0, len(files), BATCH):
            part = list(zip(files[start : start + BATCH], digests[start : start + BATCH], strict=True))
            todo = [(digest, view, self._labels[path]) for (path, _, views), digest in part for view in views]
            labels = torch.tensor([label for *_, label in todo])
            like = torch.stack([_noise(digest, self._classes) for digest, *_ in todo]) @ meaning
            own = torch.stack([torch.randn(database.dim, generator=_generator(*key[:2])) for key in todo])
            rows = cone + 0.3 * meaning[labels] + 0.8 * F.normalize(like, dim=-1) + 0.5 * F.normalize(own, dim=-1)
            database.write((digest, view, row) for (digest, view, _), row in zip(todo, rows.numpy(), strict=True))
        return dict(zip((file.path for file in files), digests, strict=True))

    def _encode_texts(self, database, prompts, contents, todo) -> None:
        meaning, _, cone = self._meaning(database.dim)
        for i in todo:
            words = prompts[i].split("thing ")
            label = int(words[1][:4]) % self._classes
            sign = -1.0 if " not " in f" {words[0]}" or "no " in words[0] or "without" in words[0] else 1.0
            row = cone + sign * 0.2 * meaning[label] + 0.3 * F.normalize(_noise(contents[i], database.dim), dim=-1)
            database.write([(contents[i], 0, row.numpy())])


def _noise(content: bytes, width: int) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(int.from_bytes(content[:7], "little")))


def _generator(*key: object) -> torch.Generator:
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def fill(folder: Path, backbone: str, weights: str, name: str, methods, shots, seeds) -> None:
    """Put into the store of a folder what the runs of these methods, shots and seeds read."""
    load_plugins()
    stores: dict[bool, SyntheticStore] = {}
    filled = set()
    for method in methods:
        files = [config_file(*pair) for pair in (("backbones", backbone), ("datasets", name), ("trainers", method))]
        for count in shots:
            for seed in seeds:
                settings = {
                    "TRAINER.NAME": method, "DATASET.NUM_SHOTS": count, "SEED": seed,
                    "DATASET.ROOT": str(folder / "data"), "STORE.ROOT": str(folder / "cache"), "VERBOSE": False,
                }  # fmt: skip
                settings |= {"MODEL.BACKBONE.WEIGHTS": weights} if weights else {}
                cfg = assemble(files, settings=settings)
                kind = TRAINER_REGISTRY.get(method).of(cfg)
                node = kind.node_of(cfg)
                sets = kind.prompt_sets_of(node), kind.optional_prompt_sets
                what = (
                    count,
                    seed,
                    str(cfg.VIEWS),
                    str(cfg.INPUT),
                    train_views(cfg),
                    kind.uses_support,
                    kind.before_projection,
                    sets,
                )
                if what in filled:  # most methods read the same
                    continue
                filled.add(what)
                clip = load_backbone(cfg.MODEL.BACKBONE, torch.device("cpu"), kind.before_projection)
                store = stores.setdefault(
                    kind.before_projection, SyntheticStore(folder / "cache", clip, progress=False)
                )
                dataset = build_dataset(cfg)
                _fill_run(cfg, dataset, store, kind, name)


def _fill_run(cfg, dataset, store: SyntheticStore, kind, name: str) -> None:
    everything = [*dataset.train_x, *(dataset.val or []), *dataset.test]
    store.use({item.impath: item.label for item in everything}, dataset.num_classes, name)
    clip = store.clip
    views = ViewSpec.of_training(clip.preprocess, cfg.VIEWS.KIND, cfg.INPUT.RRCROP_SCALE)
    if kind.uses_support:
        gather_support(cfg, dataset, store, views, lambda paths: store.images(paths, ViewSpec.test(clip.preprocess))[0])
    selected = selection_images(cfg, dataset) if kind.uses_support else []
    store.warm([item.impath for item in (*selected, *dataset.test)], ViewSpec.test(clip.preprocess))
    node = kind.node_of(cfg)
    encode_prompt_sets(cfg, dataset, dataset.classnames, store, kind.prompt_sets_of(node), kind.optional_prompt_sets)
