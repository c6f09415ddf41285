"""Feature stores of tests, without progress bars."""

from __future__ import annotations

from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec


def plain(clip) -> ViewSpec:
    """The test transform of a model."""
    return ViewSpec.test(clip.preprocess)


def store_at(path, clip, **kwargs) -> FeatureStore:
    """A store in a folder."""
    return FeatureStore(path, clip, progress=False, **kwargs)
