"""The record names the engine that ran, whatever distribution is installed."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

import dassl
from simnl.runs.record import environment


def test_the_engine_is_the_imported_one(monkeypatch):
    assert environment()["packages"]["dassl"] == dassl.__version__
    upstream = ModuleType("dassl")
    upstream.__version__ = "0.6.3"
    monkeypatch.setitem(sys.modules, "dassl", upstream)
    monkeypatch.setattr(metadata, "version", lambda package: "0.6.3.post1")
    assert environment()["packages"]["dassl"] == "0.6.3"


def test_an_engine_without_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "dassl", ModuleType("dassl"))
    assert environment()["packages"]["dassl"] == "unknown"
