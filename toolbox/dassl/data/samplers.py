"""Samplers that compose batches by domain or by class. All yield indices into the data source."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from yacs.config import CfgNode

from dassl._lazy import lazy
from dassl.data.datasets import Datum
from dassl.utils.errors import CheckError

# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
LAZY = {"copy": "copy"}
__all__ = [
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "np",
    "random",
    "defaultdict",
    "RandomClassSampler",
    "RandomDomainSampler",
    "SeqDomainSampler",
    "build_sampler",
    *LAZY,
]

__getattr__ = lazy(__name__, LAZY)

AVAI_SAMPLERS = [
    "RandomSampler",
    "SequentialSampler",
    "RandomDomainSampler",
    "SeqDomainSampler",
    "RandomClassSampler",
]


class RandomDomainSampler(Sampler):
    """Each batch: `n_domain` random domains, `batch_size // n_domain` random images of each.

    An epoch ends after the first batch that leaves one of its domains with too few images for another.

    Args:
        data_source: images.
        batch_size: must be a multiple of `n_domain`.
        n_domain: domains per batch; 0 or less: all.

    Drawing is with Python's `random`. The length is that of one epoch, drawn in the constructor; others may
    differ.
    """

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_domain: int):
        self.data_source = data_source
        self.domain_dict: defaultdict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(data_source):
            self.domain_dict[item.domain].append(index)
        self.domains = list(self.domain_dict)
        self.n_domain = n_domain if n_domain > 0 else len(self.domains)
        if self.n_domain > len(self.domains) or batch_size % self.n_domain:
            raise CheckError(
                f"batch size {batch_size} must be a multiple of the {self.n_domain} domains per batch "
                f"(N_DOMAIN), of which the data have {len(self.domains)}"
            )
        self.batch_size = batch_size
        self.n_img_per_domain = batch_size // self.n_domain
        smallest = min(self.domain_dict, key=lambda domain: len(self.domain_dict[domain]))
        if len(self.domain_dict[smallest]) < self.n_img_per_domain:
            raise CheckError(f"domain {smallest} has fewer than the {self.n_img_per_domain} images that a batch needs")
        self.length = len(list(iter(self)))

    def choose_domains(self) -> list[int]:
        """Domains of the next batch."""
        return random.sample(self.domains, self.n_domain)

    def __iter__(self) -> Iterator[int]:
        remaining = {domain: list(indices) for domain, indices in self.domain_dict.items()}
        final: list[int] = []
        chosen: list[int] = []
        while all(len(remaining[domain]) >= self.n_img_per_domain for domain in chosen):
            chosen = self.choose_domains()
            for domain in chosen:
                picked = random.sample(remaining[domain], self.n_img_per_domain)
                final += picked
                used = set(picked)
                remaining[domain] = [index for index in remaining[domain] if index not in used]
        return iter(final)

    def __len__(self) -> int:
        return self.length


class SeqDomainSampler(RandomDomainSampler):
    """Each batch: all domains in sorted order, `batch_size // number of domains` random images of each."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int):
        super().__init__(data_source, batch_size, n_domain=0)

    def choose_domains(self) -> list[int]:
        """All domains, sorted."""
        return sorted(self.domains)


class RandomClassSampler(Sampler):
    """Each batch: `batch_size // n_ins` random classes, `n_ins` images of each.

    A class with fewer images is filled up with replacement. Images that do not fill a group of `n_ins` are
    left out of the epoch, and so are the groups left when fewer classes than a batch needs have any.

    Args:
        data_source: images.
        batch_size: at least `n_ins`.
        n_ins: images per class in a batch.

    Drawing is with Python's `random`, and numpy's for the filling up. The length is that of one epoch, drawn
    in the constructor; others may differ.
    """

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_ins: int):
        if batch_size < n_ins:
            raise CheckError(f"batch size {batch_size} must be at least the {n_ins} images per class (N_INS)")
        self.data_source = data_source
        self.batch_size = batch_size
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        self.index_dic: defaultdict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(data_source):
            self.index_dic[item.label].append(index)
        self.labels = list(self.index_dic)
        if len(self.labels) < self.ncls_per_batch:
            raise CheckError(f"batches of {self.ncls_per_batch} classes need as many, the data have {len(self.labels)}")
        self.length = len(list(iter(self)))

    def __iter__(self) -> Iterator[int]:
        groups = {label: self._groups(label) for label in self.labels}
        available = list(self.labels)
        final: list[int] = []
        while len(available) >= self.ncls_per_batch:
            for label in random.sample(available, self.ncls_per_batch):
                final += groups[label].pop(0)
                if not groups[label]:
                    available.remove(label)
        return iter(final)

    def __len__(self) -> int:
        return self.length

    def _groups(self, label: int) -> list[list[int]]:
        indices = list(self.index_dic[label])
        if len(indices) < self.n_ins:
            indices = np.random.choice(indices, size=self.n_ins, replace=True).tolist()
        random.shuffle(indices)
        whole = len(indices) - len(indices) % self.n_ins
        return [indices[start : start + self.n_ins] for start in range(0, whole, self.n_ins)]


def build_sampler(
    sampler_type: str,
    cfg: CfgNode | None = None,
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler:
    """Build a sampler by name. `cfg` is not used; it stands for plugins that pass it.

    Raises:
        ValueError: unknown name, or no data source.
    """
    if data_source is None:
        raise ValueError(f"{sampler_type} needs a data_source, the list of what it samples")
    if sampler_type == "RandomSampler":
        return RandomSampler(data_source)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(data_source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(data_source, batch_size)
    if sampler_type == "RandomClassSampler":
        return RandomClassSampler(data_source, batch_size, n_ins)
    raise ValueError(f"Sampler '{sampler_type}' is unknown. Choose one of {', '.join(AVAI_SAMPLERS)}")
