"""From a configuration to data loaders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from yacs.config import CfgNode

from dassl._lazy import lazy
from dassl.utils import read_image
from dassl.utils.errors import CheckError

from .datasets import Datum, build_dataset
from .samplers import build_sampler
from .transforms import build_transform, build_transform_img0

LAZY = {
    "T": "torchvision.transforms",
    "INTERPOLATION_MODES": "dassl.data.transforms.transforms:INTERPOLATION_MODES",
}
# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
__all__ = [
    "DataManager",
    "DatasetWrapper",
    "TorchDataset",
    "build_data_loader",
    "build_dataset",
    "build_sampler",
    "build_transform",
    "read_image",
    "tabulate",
    "torch",
    *LAZY,
]

__getattr__ = lazy(__name__, LAZY)

Transform = Callable[[Image.Image], Any]


class DatasetWrapper(TorchDataset):
    """Images of a list of `Datum`, transformed, as dicts.

    An item has `label`, `domain`, `impath`, `index` (its position in `data_source`) and `img`. With a list of
    transforms the further results are `img2`, `img3`, ...; with DATALOADER.RETURN_IMG0, `img0` is the image
    without augmentation. In training, each is a list of DATALOADER.K_TRANSFORMS results if that is above 1.

    Args:
        cfg: configuration.
        data_source: images.
        transform: one, several, or None for PIL images.
        is_train: see above.
    """

    def __init__(
        self,
        cfg: CfgNode,
        data_source: Sequence[Datum],
        transform: Transform | Sequence[Transform] | None = None,
        is_train: bool = False,
    ):
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform to repeat")
        self.to_tensor = build_transform_img0(cfg) if self.return_img0 else None

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = read_image(item.impath)
        if isinstance(self.transform, (list, tuple)):
            for number, transform in enumerate(self.transform, 1):
                output["img" if number == 1 else f"img{number}"] = self._transform_image(transform, image)
        elif self.transform is not None:
            single: Any = self.transform
            output["img"] = self._transform_image(single, image)
        else:
            output["img"] = image
        if self.to_tensor is not None:
            output["img0"] = self.to_tensor(image)
        return output

    def _transform_image(self, transform: Transform, image: Image.Image) -> Any:
        results = [transform(image) for _ in range(self.k_tfm)]
        return results if self.k_tfm > 1 else results[0]


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Transform | Sequence[Transform] | None = None,
    is_train: bool = True,
    dataset_wrapper: type[DatasetWrapper] | None = None,
) -> DataLoader:
    """A loader over a list of images.

    In training an incomplete last batch is dropped, unless it is the only one.

    Raises:
        CheckError: there are no images.
    """
    if not data_source:
        raise CheckError(f"Data set {cfg.DATASET.NAME} has no images for {'training' if is_train else 'evaluation'}")
    sampler = build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins)
    wrapper = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    loader = DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )
    if len(loader) == 0:
        raise CheckError(
            f"The loader of data set {cfg.DATASET.NAME} has no batch (sampler {sampler_type}, batch size {batch_size})"
        )
    return loader


class DataManager:
    """Data set and loaders of a configuration.

    Args:
        cfg: configuration.
        custom_tfm_train: training transform, instead of that of `cfg.INPUT`.
        custom_tfm_test: the same for validation and test.
        dataset_wrapper: class to use instead of `DatasetWrapper`.

    Attributes:
        dataset: what `build_dataset` gave.
        train_loader_x, test_loader: loaders; train_loader_u, val_loader: loaders, or None without such
            images.
    """

    def __init__(
        self,
        cfg: CfgNode,
        custom_tfm_train: Transform | Sequence[Transform] | None = None,
        custom_tfm_test: Transform | Sequence[Transform] | None = None,
        dataset_wrapper: type[DatasetWrapper] | None = None,
    ):
        dataset = build_dataset(cfg)
        tfm_train = self._choose_transform(cfg, custom_tfm_train, is_train=True)
        tfm_test = self._choose_transform(cfg, custom_tfm_test, is_train=False)
        train_x, test = cfg.DATALOADER.TRAIN_X, cfg.DATALOADER.TEST
        train_u = train_x if cfg.DATALOADER.TRAIN_U.SAME_AS_X else cfg.DATALOADER.TRAIN_U

        def train_loader(source: Sequence[Datum] | None, node: CfgNode) -> DataLoader:
            return build_data_loader(
                cfg,
                node.SAMPLER,
                source,
                node.BATCH_SIZE,
                node.N_DOMAIN,
                node.N_INS,
                tfm_train,
                True,
                dataset_wrapper,
            )

        def test_loader(source: Sequence[Datum] | None) -> DataLoader:
            return build_data_loader(
                cfg,
                test.SAMPLER,
                source,
                test.BATCH_SIZE,
                tfm=tfm_test,
                is_train=False,
                dataset_wrapper=dataset_wrapper,
            )

        self.train_loader_x = train_loader(dataset.train_x, train_x)
        self.train_loader_u = train_loader(dataset.train_u, train_u) if dataset.train_u else None
        self.val_loader = test_loader(dataset.val) if dataset.val else None
        self.test_loader = test_loader(dataset.test)
        self.dataset: Any = dataset  # a plugin's, which may have more than DatasetBase
        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._num_classes

    @property
    def num_source_domains(self) -> int:
        """Number of names in DATASET.SOURCE_DOMAINS."""
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        """Label -> class name."""
        return self._lab2cname

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print a table of names and sizes."""
        table = [["Dataset", cfg.DATASET.NAME]]
        if cfg.DATASET.SOURCE_DOMAINS:
            table.append(["Source", cfg.DATASET.SOURCE_DOMAINS])
        if cfg.DATASET.TARGET_DOMAINS:
            table.append(["Target", cfg.DATASET.TARGET_DOMAINS])
        table.append(["# classes", f"{self.num_classes:,}"])
        for name in ("train_x", "train_u", "val", "test"):
            images = getattr(self.dataset, name)
            if images:
                table.append([f"# {name}", f"{len(images):,}"])
        print(tabulate(table))

    @staticmethod
    def _choose_transform(cfg: CfgNode, custom: Any, is_train: bool) -> Any:
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom
