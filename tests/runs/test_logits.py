"""The file of a run's logits: what is in it, and what is said of a missing, damaged or foreign one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.table_records import record
from simnl.runs.logits import FILE, Keeper, keep_logits, read_logits, write_logits

NAMES = ("ant", "bee", "cat")


def keeper_of(limit_mb: int = 1, **parts: torch.Tensor) -> Keeper:
    keeper = Keeper(3, limit_mb)
    for name, logits in parts.items():
        kept = keeper.collector(len(logits))
        kept.add(logits)
        keeper.keep(name.replace("__", "/"), kept, torch.arange(len(logits)) % 3)
    return keeper


@pytest.fixture
def run(tmp_path):
    """The record of a run with logits of its test and selection images and of two targets."""
    one = {**record(targets={"new": 50.0, "outline": 40.0}, config_hash="abc"), "path": str(tmp_path / "result.json")}
    generator = torch.Generator().manual_seed(0)
    logits = {part: torch.randn(n, 3, generator=generator) for part, n in
              (("test", 9), ("selection", 4), ("target__new", 5))}  # fmt: skip
    write_logits(tmp_path, keeper_of(**logits), one, NAMES, 17.5)
    return one, logits, tmp_path


def test_one_list_under_two_names_is_kept_twice(tmp_path):
    """Under oracle-test the selection images are the test images: one tensor, which safetensors would refuse."""
    keeper = keeper_of(test=torch.eye(3))
    keeper.parts["selection"] = keeper.parts["test"]
    one = {**record(config_hash="abc"), "path": str(tmp_path / "result.json")}
    write_logits(tmp_path, keeper, one, NAMES, 17.5)
    found = read_logits(one).parts
    np.testing.assert_array_equal(found["selection"][0], found["test"][0])


def test_what_would_not_be_kept_is_not_computed(tmp_path, monkeypatch):
    def computed(*_, **__):
        raise AssertionError("the selection images were predicted for nothing")

    monkeypatch.setattr("simnl.runs.logits.predict", computed)
    trainer = SimpleNamespace(
        num_val=4, output_dir=str(tmp_path), classnames=NAMES, clip=SimpleNamespace(logit_scale=17.5)
    )
    kept = keep_logits(trainer, Keeper(3, 0), record(config_hash="abc"))
    assert kept["left_out"] == {"selection": "they need 1 MB, and TEST.LOGITS_MB is 0"}


def test_what_was_kept_comes_back(run):
    one, logits, _ = run
    found = read_logits(one)
    assert set(found.parts) == {"test", "selection", "target/new"}
    assert (found.classnames, found.logit_scale) == (NAMES, 17.5)
    np.testing.assert_array_equal(found.parts["test"][0], logits["test"].double().numpy())
    np.testing.assert_array_equal(found.parts["test"][1], np.arange(9) % 3)


def test_targets_of_earlier_commands_stay(run):
    one, logits, folder = run
    write_logits(folder, keeper_of(test=logits["test"], target__outline=logits["selection"]), one, NAMES, 17.5)
    assert set(read_logits(one).parts) == {"test", "target/new", "target/outline"}
    other = {**one, "config_hash": "other"}
    write_logits(folder, keeper_of(test=logits["test"]), other, NAMES, 17.5)
    assert set(read_logits(other).parts) == {"test"}


def test_a_missing_file_is_named_with_what_to_do(run):
    one, _, folder = run
    (folder / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{FILE} is not there\. Compute its logits anew .*{folder}"):
        read_logits(one)


def test_every_flipped_byte_is_found(run):
    one, _, folder = run
    content = bytearray((folder / FILE).read_bytes())
    for place in range(0, len(content), 37):
        broken = content.copy()
        broken[place] ^= 0x10
        (folder / FILE).write_bytes(broken)
        with pytest.raises(ValueError, match=FILE):
            read_logits(one)


@pytest.mark.parametrize("key", ["config_hash", "seed", "accuracy"])
def test_a_file_of_another_run_is_told(run, key):
    one, _, _ = run
    with pytest.raises(ValueError, match="belongs to another run than the record beside it"):
        read_logits({**one, key: 99})


def test_logits_that_are_not_finite_are_told(run):
    one, logits, folder = run
    bad = logits["test"].clone()
    bad[2, 1] = torch.nan
    write_logits(folder, keeper_of(test=bad), one, NAMES, 17.5)
    with pytest.raises(ValueError, match="part 'test': 1 of 9 rows hold NaN"):
        read_logits(one)


def test_a_part_that_is_too_large_is_left_out_and_named(tmp_path, caplog):
    keeper = Keeper(3, 0)
    keeper.keep("test", keeper.collector(9), torch.zeros(9))
    one = {**record(), "path": str(tmp_path / "result.json")}
    told = write_logits(tmp_path, keeper, one, NAMES, 17.5)
    assert told == {"file": FILE, "images": {}, "left_out": {"test": "they need 1 MB, and TEST.LOGITS_MB is 0"}}
    assert read_logits(one).parts == {}
    assert not caplog.records  # 0 was asked for
    keeper = Keeper(200_000, 1)
    keeper.keep("test", keeper.collector(9), torch.zeros(9))
    assert "are not stored: they need 4 MB, and TEST.LOGITS_MB is 1" in caplog.text
