"""SimNL: few-shot adaptation of vision-language models.

This is the library on which methods (`trainers/`) and data sets (`datasets/`) stand. docs/architecture.md explains its
parts and which of them may import which. Programs and notebooks start at `FewShotClassifier` (docs/classifier.md).
"""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simnl.classifier import FewShotClassifier

__all__ = ["FewShotClassifier"]
__version__ = "0.2.0"


def _find_engine() -> None:
    """Where no `dassl` is installed, import the bundled copy: `_engine` in a wheel, `toolbox` in a clone."""
    package = Path(__file__).resolve().parent
    if util.find_spec("dassl") is None:
        places = (package / "_engine", package.parent / "toolbox")
        sys.path += [str(place) for place in places if (place / "dassl").is_dir()][:1]


_find_engine()


def __getattr__(name: str) -> Any:
    """Import the classifier only when a program asks for it, because importing PyTorch takes seconds."""
    if name == "FewShotClassifier":
        from simnl.classifier import FewShotClassifier

        return FewShotClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
