"""ImageNetV2, matched frequency (Recht et al., 2019): a second test set of ImageNet; evaluation only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import Sizes
from simnl.data.wnids import IMAGENET_CLASSES, WnidFolders, clip_classnames, read_classnames


@DATASET_REGISTRY.register()
class ImageNetV2(WnidFolders):
    """`imagenetv2/imagenetv2-matched-frequency-format-val/{0..999}/*.jpeg`: a folder's name is the label."""

    config_name = "imagenetv2"
    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    published = Sizes(IMAGENET_CLASSES, 0, 0, 10000)
    source = "https://github.com/modestyachts/ImageNetV2"
    eval_only = True

    def class_folders(self, folder: Path) -> list[str]:
        """The folders in numeric order (as text, 10 comes before 2)."""
        found = super().class_folders(folder)
        wrong = [name for name in found if not (name.isascii() and name.isdigit())]
        if wrong:
            raise ValueError(f"{folder / wrong[0]}: folders of ImageNetV2 are named by label, 0 to 999.")
        return sorted(found, key=int)

    def names_of(self, folders: Sequence[str], source: Sequence[str] | None) -> list[str]:
        """Names by way of the WordNet ids; CLIP's own list where there are no ids, but all folders."""
        if self._wnids(source) is None and [int(name) for name in folders] == list(range(IMAGENET_CLASSES)):
            return list(clip_classnames())
        return super().names_of(self._to_wnids(folders, source), source)

    def indices_in(self, source: Sequence[str] | None, folders: Sequence[str]) -> list[int] | None:
        """The class indices, as for folders named by WordNet id."""
        return None if source is None else super().indices_in(source, self._to_wnids(folders, source))

    def _to_wnids(self, folders: Sequence[str], source: Sequence[str] | None) -> list[str]:
        wnids = self._wnids(source)
        if wnids is None:
            raise FileNotFoundError(self.help("no classnames.txt, which says what the numbered folders are", self.root))
        beyond = [name for name in folders if int(name) >= len(wnids)]
        if beyond:
            raise ValueError(f"{self.image_root / beyond[0]}: only {len(wnids)} ImageNet classes are listed here.")
        return [wnids[int(name)] for name in folders]

    def _wnids(self, source: Sequence[str] | None) -> Sequence[str] | None:
        """The list that the numbers count in: that of the names file, else the ImageNet classes here."""
        path = self.classnames_file()
        return sorted(read_classnames(path)) if path else source
