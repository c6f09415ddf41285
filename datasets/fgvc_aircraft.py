"""FGVCAircraft (Maji et al., 2013): 100 aircraft variants."""

from __future__ import annotations

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.listing import read_text
from simnl.data.splits import PARTS, Item, Split, check_items


@DATASET_REGISTRY.register()
class FGVCAircraft(FewShotDataset):
    """`fgvc_aircraft/images/0034309.jpg`, with the official lists `variants.txt` and
    `images_variant_<part>.txt`.

    The label is the variant's line in `variants.txt`. Names may hold spaces and slashes (`F/A-18`).
    """

    config_name = "fgvc_aircraft"
    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    split_file = "variants.txt"
    label_files = ("variants.txt", *(f"images_variant_{part}.txt" for part in PARTS))
    published = Sizes(100, 3334, 3333, 3333)
    source = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ (its data/ folder, renamed)"

    def load_split(self, cfg) -> Split:
        """The official lists, or the json file that DATASET.SPLIT_FILE names."""
        if cfg.DATASET.SPLIT_FILE:
            return super().load_split(cfg)
        variants = self._lines(self.root / self.split_file)
        labels = {name: label for label, name in enumerate(variants)}
        if len(labels) < len(variants):
            raise ValueError(f"{self.root / self.split_file}: a variant is listed twice.")
        parts = {part: self._part(self.root / f"images_variant_{part}.txt", labels) for part in PARTS}
        check_items(str(self.root / "images_variant_*.txt"), parts)
        return Split(**parts, source=str(self.root))

    def _part(self, path: Path, labels: dict[str, int]) -> list[Item]:
        items = []
        for number, line in enumerate(self._lines(path), start=1):
            image, _, name = line.partition(" ")
            name = name.strip()
            if name not in labels:
                raise ValueError(f"{path}, line {number}: {name!r} is not listed in {self.split_file}.")
            items.append(Item(f"{image}.jpg", labels[name], name))
        return items

    def _lines(self, path: Path) -> list[str]:
        if not path.is_file():
            raise FileNotFoundError(self.help(f"no file {path}", path.parent))
        lines = [line.strip() for line in read_text(path).splitlines()]
        lines = [line for line in lines if line]
        if not lines:
            raise ValueError(f"{path} is empty.")
        return lines
