"""A program that uses the classifier is as it was before: no file, no random number, no setting, no output.

tests/e2e/test_wheel.py has the same of the import, in a process of its own."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import threading

import numpy as np
import pytest
import torch

from simnl import FewShotClassifier
from simnl.classifier import training
from simnl.classifier.isolation import quiet

X, Y = np.random.RandomState(0).randn(12, 6), ["ant", "bee", "cat"] * 4


def state() -> list:
    """What fitting could change."""
    loggers = [logging.getLogger(name) for name in (None, "simnl", "dassl", "trainers")]
    return [
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        [(logger.level, list(logger.handlers)) for logger in loggers],
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        dict(os.environ),
        sys.stdout,
        threading.excepthook,
        torch.get_num_threads(),
    ]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty working folder, folder of temporary files, and home."""
    for name in ("work", "temporary", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("arithmetic", ["highest", "medium"])
def test_fitting_changes_nothing(empty, capsys, arithmetic):
    torch.set_float32_matmul_precision(arithmetic)
    try:
        before = state()
        classifier = FewShotClassifier(text_features="class-means", validation=0.5, options={"OPTIM.MAX_EPOCH": 2})
        classifier.fit(X, Y).predict(X)
        assert state() == before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert files(empty) in ([], ["home/simnl/CACHEDIR.TAG"])
    assert capsys.readouterr() == ("", "")


def test_neither_does_a_failure(empty, capsys):
    before = state()
    classifier = FewShotClassifier(
        "TipAdapterF", text_features="class-means", options={"OPTIM.LR": 1e30, "OPTIM.EPS": 1.0}
    )
    with pytest.raises((FloatingPointError, ValueError), match="TipAdapterF (diverged|gives NaN)"):
        classifier.fit(X, Y).predict(X)
    assert state() == before
    assert files(empty) in ([], ["home/simnl/CACHEDIR.TAG"])
    assert capsys.readouterr() == ("", "")


def test_features_of_pictures_stay_in_the_cache_alone(empty, pictures):
    paths, labels = pictures["train"]
    classifier = FewShotClassifier("TipAdapter", backbone="tiny", device="cpu")
    classifier.fit(paths, labels).predict(paths)
    assert files(empty)
    assert all(name.startswith("home/simnl/") for name in files(empty))
    before = files(empty)
    kept = FewShotClassifier("TipAdapter", backbone="tiny", cache=False, device="cpu").fit(paths, labels)
    np.testing.assert_array_equal(kept.logits(paths), classifier.logits(paths))
    assert files(empty) == before


def test_other_threads_may_print(capsys):
    with quiet(True):
        print("of the engine")
        other = threading.Thread(target=print, args=("of another thread",))
        other.start()
        other.join()
    with quiet(False):
        print("shown")
    assert capsys.readouterr().out == "of another thread\nshown\n"


def test_progress_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("simnl.bars.EVERY", 0.0)
    classifier = FewShotClassifier("TipAdapterF", text_features="class-means", options={"OPTIM.MAX_EPOCH": 3})
    classifier.set_params(verbose=True).fit(X, Y)
    out, err = capsys.readouterr()
    assert "Training: 3 of 3 epochs (100 %)" in err
    assert out == ""
    classifier.set_params(verbose=2).fit(X, Y)
    assert "epoch [3/3]" in capsys.readouterr().out


def test_threads_train_one_after_the_other(monkeypatch):
    """They share the generators, which one of them would restore while the other draws."""
    free = []

    def ask() -> None:
        if is_free := training.ONE_AT_A_TIME.acquire(blocking=False):
            training.ONE_AT_A_TIME.release()
        free.append(is_free)

    def asked(*args, **kwargs):
        other = threading.Thread(target=ask)
        other.start()
        other.join()
        return chosen(*args, **kwargs)

    chosen = training.chosen_by_trainings
    monkeypatch.setattr(training, "chosen_by_trainings", asked)
    FewShotClassifier("TipAdapter", text_features="class-means").fit(X, Y)
    ask()
    assert free == [False, True]
