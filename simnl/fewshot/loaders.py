"""Loaders that yield image features, or pixels, under the batch keys of Dassl's loaders (`img`, `label`, `index`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec, seeded, view_seed
from simnl.config_names import check_choice
from simnl.data.digests import FileDigests
from simnl.data.images import read_image
from simnl.fewshot.head import Head

ROWS = 4096  # number of images that are scored at once


def seeded_generator(*key: object) -> torch.Generator:
    """A CPU generator that depends only on the key (e.g. a seed, a purpose, an epoch)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def taken(table: Tensor, view: int | Tensor, index: Tensor | slice) -> Tensor:
    """table[view, index] of a table (V, N, width): rows of a view, or of (view, row) pairs; faster for whole rows."""
    if isinstance(index, slice):
        return table[view, index]
    if isinstance(view, int):
        return table[view].index_select(0, index)
    return table.flatten(0, 1).index_select(0, view * table.shape[1] + index)


class ViewProducts:
    """The products of stored views that a head offers (`Head.products`). They are computed when first needed, then
    kept.

    All rows of a view are computed together, so that they depend neither on the order of batches nor on the point at
    which a run was resumed.

    Args:
        products: a function of raw features (n, D) that gives (n, width).
        width: the numbers per row.
        features: the stored views, (V, N, D).
        suffice: True for a head that reads nothing of the features beside the products.
    """

    def __init__(self, products: Callable[[Tensor], Tensor], width: int, features: Tensor, suffice: bool = False):
        self._products, self._features, self.suffice = products, features, suffice
        self._table = features.new_empty(*features.shape[:2], width)
        self._known: set[int] = set()

    @property
    def nbytes(self) -> int:
        """The number of bytes of all products."""
        return self._table.nbytes

    def rows(self, view: int | Tensor, index: Tensor | slice) -> dict[str, Tensor]:
        """{`products`: (B, width)} of rows of a view, or of (view, row) pairs, as arguments of `Head.losses`."""
        for number in {view} if isinstance(view, int) else set(view.unique().tolist()):
            if number not in self._known:
                parts = zip(self._table[number].split(ROWS), self._features[number].split(ROWS), strict=True)
                with torch.no_grad():
                    for rows, features in parts:
                        rows.copy_(self._products(features))
                self._known.add(number)
        return {"products": taken(self._table, view, index)}


def keep_products(head: Head, train: SupportLoader, val: LabelledFeatures | None, epochs: int, limit: int) -> None:
    """Let loaders keep the products of views that are read again, within `limit` bytes, training views first.

    Products of training views are not kept if no view is read twice in this number of epochs.
    """
    wanted: list[Any] = [(train, train.features)] if epochs > len(train.features) else []
    wanted += [(val, val.features[None])] if val is not None else []
    for loader, features in wanted:
        if features[..., 0].numel() * head.num_products * features.element_size() <= limit:
            loader.kept = ViewProducts(head.products, head.num_products, features, head.products_suffice)
            limit -= loader.kept.nbytes


def products_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a batch besides features and labels, as keyword arguments of `Head.losses` and `forward`."""
    return {name: value for name, value in batch.items() if name not in ("img", "label", "index")}


class SupportLoader:
    """Shuffled training batches; epoch e reads view e mod V, or rows of all views.

    The order is a function of (seed, epoch), so a resumed run continues as an undisturbed one would.

    Args:
        features: (V, N, D), on the device of the training.
        labels: (N,) int64, on the same device.
        batch_size: B; the last batch of an epoch is short, or dropped.
        seed: the seed of the run.
        drop_last: Dassl's rule: drop a short last batch, unless it is the only one.
        order: with `cycle`, an epoch is a permutation of one view. With `pool` (CLAP), an epoch has as many batches,
            filled with the first rows of a permutation of all V * N rows, so that a batch is short only if V * N rows
            do not fill it.

    Attributes:
        epoch: the number of the epoch, from 0.
        kept: the tensors that batches hold besides features, or None. Features without columns stand for unread ones.
    """

    ORDERS = ("cycle", "pool")

    def __init__(
        self, features: Tensor, labels: Tensor, batch_size: int, seed: int, drop_last: bool, order: str = "cycle"
    ):
        check_choice("VIEWS.ORDER", order, self.ORDERS)
        self.features, self.labels = features, labels
        self.batch_size, self.seed = batch_size, seed
        self.drop_last = drop_last and len(labels) >= batch_size
        self.order = order
        self.epoch = 0
        self.kept: ViewProducts | None = None

    def __len__(self) -> int:
        rows = len(self.labels)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        views, rows = self.features.shape[:2]
        number, key = (views * rows if self.order == "pool" else rows), (self.seed, "train order", self.epoch)
        order = torch.randperm(number, generator=seeded_generator(*key)).to(self.labels.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            row = order[start : start + self.batch_size]
            view, index = (row // rows, row % rows) if self.order == "pool" else (self.epoch % views, row)
            more = self.kept.rows(view, index) if self.kept else {}
            unread = self.kept is not None and self.kept.suffice
            features = self.features.new_empty(len(index), 0) if unread else taken(self.features, view, index)
            yield {"img": features, "label": self.labels[index], "index": index, **more}


class LabelledFeatures:
    """Features (M, D) with labels (M,), read in chunks under Dassl's batch keys.

    `kept` has the tensors that batches hold besides features (of one view, `features[None]`), or is None.
    """

    def __init__(self, features: Tensor, labels: Tensor):
        self.features, self.labels = features, labels
        self.kept: ViewProducts | None = None

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.labels), ROWS):
            rows = slice(start, start + ROWS)
            more = self.kept.rows(0, rows) if self.kept else {}
            yield {"img": self.features[rows], "label": self.labels[rows], **more}


class StreamLoader:
    """Evaluation batches in order, read chunk by chunk, so that memory does not grow with the data set.

    Args:
        stream: a function that is called for each pass and yields features (1, n, D).
        labels: the label of each image.
    """

    def __init__(self, stream: Callable[[], Iterator[Tensor]], labels: Sequence[int] | Tensor):
        self._stream, self._labels = stream, torch.as_tensor(labels)

    def __len__(self) -> int:
        return max(1, -(-len(self._labels) // ROWS))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        start = 0
        for chunk in self._stream():
            index = torch.arange(start, start + chunk.shape[1])
            yield {"img": chunk[0], "label": self._labels[index], "index": index}
            start += chunk.shape[1]


class Whole:
    """All batches of a loader as one batch, for a head that looks at a whole set of images.

    `batches` yields batches of tensors by name; each pass over `Whole` is one pass over them.
    """

    def __init__(self, batches: Iterable[Mapping[str, Tensor]]):
        self._batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        parts = list(self._batches)
        yield {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class PixelLoader:
    """Batches of pixels (B, 3, H, W), for methods that change the image tower.

    Batches come from endless passes over the images, which are cut into epochs. The generators of the feature store
    draw the views as a function of (image, view), and the order is a function of (seed, pass). So neither depends on
    the number of workers, and a resumed run continues as an undisturbed one would.

    Args:
        store: the feature store, whose folder has the digests of files.
        items: images with `impath` and `label`.
        spec: the transform.
        batch_size: B.
        num_workers: processes that decode images.
        seed: the seed of the order; None reads images in order.
        drop_last: Dassl's rule: drop a short last batch of a pass, unless it is the only one.
        first_view, num_views: pass p reads view first_view + p mod num_views; with 0, each pass reads a new view.

    Attributes:
        epoch: the number of the epoch, from 0.
        steps: the number of batches of an epoch; 0 for those of one pass.
    """

    def __init__(
        self,
        store: FeatureStore,
        items: Sequence,
        spec: ViewSpec,
        batch_size: int,
        num_workers: int,
        seed: int | None = None,
        drop_last: bool = False,
        first_view: int = 0,
        num_views: int = 1,
    ):
        self._views = ImageViews([item.impath for item in items], spec, store.root)
        self._labels = torch.tensor([item.label for item in items], dtype=torch.int64)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.first_view, self.num_views = first_view, num_views
        self.drop_last = drop_last and len(items) >= batch_size
        self.epoch = self.steps = 0

    def __len__(self) -> int:
        return self.steps or self._pass_length

    @property
    def _pass_length(self) -> int:
        rows = len(self._labels)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        own = torch.Generator()  # otherwise the loader would draw from the global generator, and so change it
        yield from DataLoader(
            self._views,
            batch_sampler=list(self._batches()),
            num_workers=self.num_workers,
            collate_fn=self._collate,
            generator=own,
        )

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        """The (position, view) pairs of each batch of this epoch."""
        first, known = self.epoch * len(self), None
        for number in range(first, first + len(self)):
            turn, place = divmod(number, self._pass_length)
            if turn != known:
                order, known = self._order(turn), turn
                view = self.first_view + (turn % self.num_views if self.num_views else turn)
            yield [(i, view) for i in order[place * self.batch_size : (place + 1) * self.batch_size]]

    def _order(self, turn: int) -> list[int]:
        rows = len(self._labels)
        if self.seed is None:
            return list(range(rows))
        return torch.randperm(rows, generator=seeded_generator(self.seed, "train order", turn)).tolist()

    def _collate(self, items: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        index = torch.tensor([position for _, position in items])
        return {"img": torch.stack([pixels for pixels, _ in items]), "label": self._labels[index], "index": index}


def in_steps(loader: Any, steps: int) -> Any:
    """The loader with epochs of `steps` batches, taken from endless passes; 0: an epoch is one pass."""
    if steps:
        loader.steps = steps
    return loader


class ImageViews(Dataset):
    """Views of image files by (position, view): pixels (3, H, W) and the position. `root` is the folder of digests."""

    def __init__(self, paths: Sequence[str], spec: ViewSpec, root: Path):
        self._paths, self._transform, self._decoder = paths, spec.build(), spec.decoder
        random = spec.crop_scale is not None  # a fixed transform draws nothing, so no file is read for a seed
        self._contents = FileDigests(root).of(paths) if random else [b""] * len(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        position, view = key
        with seeded(view_seed(self._contents[position], view)):
            return self._transform(read_image(self._paths[position], self._decoder)), position
