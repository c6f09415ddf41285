"""Loaders that yield image features, or pixels, under the batch keys of Dassl's loaders (`img`, `label`, `index`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlm.store import FeatureStore, FileDigests, PendingViews
from vlm.views import ViewSpec

ROWS = 4096  # images scored at once


def seeded_generator(*key: object) -> torch.Generator:
    """A CPU generator that is a function of the key (e.g. a seed, a purpose, an epoch) and of nothing else."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class SupportLoader:
    """Shuffled training batches; epoch e reads view e mod V, or rows of all views.

    The order is a function of (seed, epoch), so a resumed run continues as an undisturbed one would.

    Args:
        features: (V, N, D), on the device where training runs.
        labels: (N,) int64, same device.
        batch_size: B; the last batch of an epoch is short, or dropped.
        seed: of the run.
        drop_last: Dassl's rule: drop a short last batch, unless it is the only one.
        order: `cycle`: an epoch is a permutation of one view. `pool`: an epoch has as many batches, filled with the
            first rows of a permutation of all V * N (CLAP): no batch is short unless V * N rows do not fill it.
    """

    ORDERS = ("cycle", "pool")

    def __init__(
        self, features: Tensor, labels: Tensor, batch_size: int, seed: int, drop_last: bool, order: str = "cycle"
    ):
        if order not in self.ORDERS:
            raise ValueError(f"VIEWS.ORDER is '{order}'. Choose one of {', '.join(self.ORDERS)}.")
        self.features, self.labels = features, labels
        self.batch_size, self.seed = batch_size, seed
        self.drop_last = drop_last and len(labels) >= batch_size
        self.order = order
        self.epoch = 0

    def __len__(self) -> int:
        rows = len(self.labels)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        views, rows = self.features.shape[:2]
        pooled = self.order == "pool"
        generator = seeded_generator(self.seed, "train order", self.epoch)
        order = torch.randperm(views * rows if pooled else rows, generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            row = order[start : start + self.batch_size].to(self.labels.device)
            view, index = (row // rows, row % rows) if pooled else (self.epoch % views, row)
            yield {"img": self.features[view, index], "label": self.labels[index], "index": index}


class LabelledFeatures:
    """Features (M, D) with labels (M,), read in chunks under Dassl's batch keys."""

    def __init__(self, features: Tensor, labels: Tensor):
        self.features, self.labels = features, labels

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for features, labels in zip(self.features.split(ROWS), self.labels.split(ROWS), strict=True):
            yield {"img": features, "label": labels}


class StreamLoader:
    """Evaluation batches in order, read chunk by chunk: memory does not grow with the data set.

    Args:
        stream: called at each pass; yields features (1, n, D).
        labels: one per image.
    """

    def __init__(self, stream: Callable[[], Iterator[Tensor]], labels: Sequence[int]):
        self._stream, self._labels = stream, torch.as_tensor(labels)

    def __len__(self) -> int:
        return max(1, -(-len(self._labels) // 4096))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        start = 0
        for chunk in self._stream():
            index = torch.arange(start, start + chunk.shape[1])
            yield {"img": chunk[0], "label": self._labels[index], "index": index}
            start += chunk.shape[1]


class PixelLoader:
    """Batches of pixels (B, 3, H, W), for methods that change the image tower.

    Views are drawn by the generators of the feature store, a function of (image, view); the order is a function of
    (seed, epoch). So neither depends on the number of workers, and a resumed run continues as an undisturbed one would.

    Args:
        store: its folder remembers the digests of files.
        items: images with `impath` and `label`.
        spec: the transform.
        batch_size: B.
        num_workers: processes that decode images.
        seed: of the order; None: in order.
        drop_last: Dassl's rule: drop a short last batch, unless it is the only one.
        views: numbers of the views; epoch e reads the (e mod V)-th.
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
        views: Sequence[int] = (0,),
    ):
        self._paths, self._spec = [item.impath for item in items], spec
        self._contents = FileDigests(store.root).of(self._paths)
        self._labels = torch.tensor([item.label for item in items], dtype=torch.int64)
        self.batch_size, self.num_workers, self.seed, self.views = batch_size, num_workers, seed, views
        self.drop_last = drop_last and len(items) >= batch_size
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._labels) // self.batch_size if self.drop_last else -(-len(self._labels) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = torch.arange(len(self._labels))
        if self.seed is not None:
            order = torch.randperm(len(order), generator=seeded_generator(self.seed, "train order", self.epoch))
        view = self.views[self.epoch % len(self.views)]
        pending = PendingViews(self._paths, self._contents, self._spec, [(i, view) for i in order.tolist()])
        own = torch.Generator()  # else the loader would draw from, and so change, the global generator
        loader = DataLoader(
            pending,
            self.batch_size,
            num_workers=self.num_workers,
            drop_last=self.drop_last,
            collate_fn=self._batch,
            generator=own,
        )
        yield from loader

    def _batch(self, items: list) -> dict[str, Tensor]:
        index = torch.tensor([position for keys, _ in items for position, _ in keys])
        return {"img": torch.cat([p for _, p in items]), "label": self._labels[index], "index": index}
