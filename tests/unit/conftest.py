"""The bundled model, and its text tower for methods that learn prompts."""

from __future__ import annotations

import pytest

from vlm.clip import FrozenCLIP, load_clip
from vlm.prompt_learning import TextTower


@pytest.fixture(scope="session")
def clip() -> FrozenCLIP:
    return load_clip("tiny-clip", "bundled")


@pytest.fixture(scope="session")
def tower(clip) -> TextTower:
    return TextTower(clip)
