"""What methods declare is remembered beside a digest of the source: it is what the classes say, of no other source."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helpers.methods import METHODS
from simnl import declarations
from simnl.config_names import config_file
from simnl.declarations import Declared, declared, source_digest
from simnl.runs.capabilities import refusal
from simnl.runs.config import assemble
from simnl.runs.run import seeded_trainer


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """As in a process that has imported no method, with a cache of its own; the path of the file."""
    monkeypatch.setenv("CACHE", str(tmp_path))
    monkeypatch.setattr("simnl.plugins.methods_are_loaded", lambda: False)
    declarations._of_this_program.cache_clear()
    yield declarations._path()
    declarations._of_this_program.cache_clear()


def without_classes(monkeypatch):
    """From here on, asking a class is an error."""
    declarations._of_this_program.cache_clear()
    monkeypatch.setattr("simnl.plugins.load_plugins", lambda: pytest.fail("methods are imported"))
    monkeypatch.setattr(declarations, "_of_classes", dict)


def test_what_is_remembered_is_what_the_classes_say(apart, monkeypatch):
    from_classes = declared()
    assert apart.is_file()
    without_classes(monkeypatch)
    remembered = declared()
    assert set(METHODS) <= set(remembered)
    for name, one in remembered.items():  # as texts: with types, and with keys in their order
        assert repr(one) == repr(from_classes[name]) == repr(Declared.of(declarations.TRAINER_REGISTRY.get(name)))
    assert not remembered["TransCLIP"].stands_alone
    assert remembered["SimNL"].stands_alone
    assert "new ones" in str(refusal("SimNL", task="base2new"))


@pytest.mark.parametrize("damage", [lambda text: text.replace("'revision': 1", "'revision': 9"), lambda text: "{"])
def test_a_damaged_file_is_read_off_the_classes_again(apart, damage):
    right = declared()
    apart.write_text(damage(apart.read_text()))
    declarations._of_this_program.cache_clear()
    assert declared() == right


def test_other_source_is_read_off_the_classes_again(apart, monkeypatch):
    declared()
    before = apart.read_text()
    monkeypatch.setattr(declarations, "source_digest", lambda: "0" * 64)
    declarations._of_this_program.cache_clear()
    declared()
    assert apart.read_text() != before


def test_the_digest_covers_the_methods(tmp_path, monkeypatch):
    (tmp_path / "methods_apart").mkdir()
    source = tmp_path / "methods_apart" / "__init__.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("simnl.plugins.METHODS", "methods_apart")
    digests = set()
    for text in ("", "revision = 2\n"):
        source.write_text(text)
        digests.add(source_digest())
    assert len(digests) == 2


def test_a_run_imports_the_methods_even_if_its_config_did_not(monkeypatch):
    imported = []
    monkeypatch.setattr("simnl.runs.run.load_plugins", lambda: imported.append(True))
    cfg = assemble([config_file("datasets", "shapes")], settings={"TRAINER.NAME": "SimNL", "SEED": -1})
    seeded_trainer(cfg, build=lambda _: SimpleNamespace(dm=SimpleNamespace(dataset=None)))
    assert imported
