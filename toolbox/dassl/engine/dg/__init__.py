"""Domain generalisation: its baseline. The other trainers of upstream are left out, and refused by name."""

from __future__ import annotations

from dassl._lazy import lazy
from dassl._upstream import refusing

from .vanilla import Vanilla

__all__ = ["Vanilla"]

__getattr__ = refusing(["dassl.engine.dg"], otherwise=lazy(__name__, {}))
