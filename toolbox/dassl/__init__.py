"""Training engine with the public API of Dassl 0.6.3, written anew for few-shot work on current PyTorch."""

from __future__ import annotations

from ._upstream import install_finder

__version__ = "0.6.3.post1"

install_finder()
