"""Rendered pictures, and a folder of features that all tests here share."""

from __future__ import annotations

import pytest

from helpers.pictures import Pictures, make_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Pictures:
    """Three classes, with 2 training, 2 validation and 3 test pictures of each."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def features_cache(tmp_path_factory):
    """Where features are kept."""
    return tmp_path_factory.mktemp("features")
