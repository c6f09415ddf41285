"""An image with its label (`Datum`), and the base of all data sets (`DatasetBase`)."""

from __future__ import annotations

import os.path as osp
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dassl._lazy import lazy
from dassl.utils import check_availability, download_url, mkdir_if_missing
from dassl.utils.archive import extract_archive, is_archive

# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
LAZY = {
    "check_isfile": "dassl.utils:check_isfile",
    "gdown": "gdown",
    "os": "os",
    "tarfile": "tarfile",
    "zipfile": "zipfile",
}
__all__ = ["defaultdict", "osp", "random", "DatasetBase", "Datum", *LAZY]

__getattr__ = lazy(__name__, LAZY)


class Datum:
    """One image: path, label, domain, class name. Read-only.

    Args:
        impath: path of a file that exists.
        label: class index.
        domain: domain index.
        classname: name of the class.

    Raises:
        TypeError: `impath` is no str.
        FileNotFoundError: there is no such file.

    The private attribute names and the module path are upstream's, so pickled lists of either can be read by
    both.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = ""):
        if not isinstance(impath, str):
            raise TypeError(f"impath must be a str, not {type(impath).__name__}: {impath!r}")
        if not osp.isfile(impath):
            raise FileNotFoundError(f'No file found at "{impath}". Check DATASET.ROOT and that the data are complete')
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        """Path of the image file."""
        return self._impath

    @property
    def label(self) -> int:
        """Class index."""
        return self._label

    @property
    def domain(self) -> int:
        """Domain index."""
        return self._domain

    @property
    def classname(self) -> str:
        """Name of the class."""
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self._impath!r}, {self._label}, {self._domain}, {self._classname!r})"


class DatasetBase:
    """Lists of `Datum` for labelled and unlabelled training, validation and test.

    Classes are those of `train_x`.

    Attributes:
        dataset_dir: the data set's folder below DATASET.ROOT.
        domains: names of all domains, where there are several.
    """

    dataset_dir = ""
    domains: list[str] = []

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ):
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x or [])

    @property
    def train_x(self) -> list[Datum] | None:
        """Labelled training images."""
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        """Unlabelled training images."""
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        """Validation images."""
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        """Test images."""
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Label -> class name."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names, sorted by label."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        """Highest label + 1, which is the number of classes where labels have no gaps."""
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum] | None) -> int:
        """Highest label + 1.

        Raises:
            ValueError: there are no images.
        """
        if not data_source:
            raise ValueError(
                "A data set needs images in train_x, which define its classes "
                "(sets for evaluation only give their test images)"
            )
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Iterable[Datum]) -> tuple[dict[int, str], list[str]]:
        """Label -> class name, and the names sorted by label. The first of several names counts."""
        mapping: dict[int, str] = {}
        for item in data_source:
            mapping.setdefault(item.label, item.classname)
        return mapping, [mapping[label] for label in sorted(mapping)]

    def check_input_domains(self, source_domains: Iterable[str], target_domains: Iterable[str]) -> None:
        """Check that all are names in `self.domains`.

        Raises:
            ValueError: one is not.
        """
        self.is_input_domain_valid(source_domains)
        self.is_input_domain_valid(target_domains)

    def is_input_domain_valid(self, input_domains: Iterable[str]) -> None:
        """Check that all are names in `self.domains`.

        Raises:
            ValueError: one is not.
        """
        for domain in input_domains:
            check_availability(domain, self.domains)

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Download a file, and extract it next to `dst` if that is a zip or tar.

        Args:
            url: address; of Google Drive if `from_gdrive` (needs the package gdown).
            dst: path of the file to write; its folder is made if missing.
            from_gdrive: see `url`.

        Raises:
            ValueError: the archive would write outside its folder.
        """
        folder = osp.dirname(osp.abspath(dst))
        mkdir_if_missing(folder)
        if from_gdrive:
            try:
                import gdown
            except ImportError as error:
                raise ImportError("Downloads from Google Drive need gdown: pip install gdown") from error
            gdown.download(url, dst, quiet=False)
        else:
            download_url(url, dst)
        if is_archive(dst):
            print("Extracting file ...")
            extract_archive(dst, folder)
            print(f"File extracted to {folder}")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | list[list[Datum]] | tuple[list[Datum], ...]:
        """Draw `num_shots` images per class from each source with Python's `random`.

        Classes come in the order in which the source first shows them, and the draw's order is kept. Seed
        `random`
        before: the draw is a function of its state, the order of the source and `num_shots`.

        Args:
            data_sources: lists of images.
            num_shots: images per class; below 1, sources are returned as they are and nothing is drawn.
            repeat: where a class has too few images, draw with replacement instead of taking them all, once.

        Returns:
            One list for one source, else a list of lists (a tuple if nothing is drawn).
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        drawn = [self._draw(source, num_shots, repeat) for source in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _draw(self, source: list[Datum], num_shots: int, repeat: bool) -> list[Datum]:
        drawn: list[Datum] = []
        for items in self.split_dataset_by_label(source).values():
            if len(items) >= num_shots:
                drawn += random.sample(items, num_shots)
            else:
                drawn += random.choices(items, k=num_shots) if repeat else items
        return drawn

    def split_dataset_by_label(self, data_source: Iterable[Datum]) -> defaultdict[int, list[Datum]]:
        """Label -> images, both in order of appearance."""
        groups: defaultdict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups

    def split_dataset_by_domain(self, data_source: Iterable[Datum]) -> defaultdict[int, list[Datum]]:
        """Domain -> images, both in order of appearance."""
        groups: defaultdict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.domain].append(item)
        return groups
