"""Sweeps: every combination is tried once, the first best is kept, and an interrupted sweep goes on."""

from __future__ import annotations

import json

import pytest

from simnl.locations import CONFIGS
from simnl.runs.config import ConfigError, assemble
from simnl.runs.sweep import combinations, sweep, with_settings
from simnl.sealed import read_sealed

FILES = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "shapes.yaml"]
FILES.append(CONFIGS / "trainers" / "CLIPAdapter.yaml")
RATIO, LR = "TRAINER.CLIPADAPTER.RATIO", "OPTIM.LR"


def config(tmp_path, pairs):
    options = ["OUTPUT_DIR", str(tmp_path), "SWEEP", repr(pairs)]
    return assemble(FILES, options, {"TRAINER.NAME": "CLIPAdapter", "SEED": 1})


def test_all_combinations_in_order(tmp_path):
    cfg = config(tmp_path, [[RATIO, [0.2, 0.6]], [LR, [0.1, 0.01, 0.001]]])
    assert combinations(cfg) == [{RATIO: r, LR: lr} for r in (0.2, 0.6) for lr in (0.1, 0.01, 0.001)]
    assert combinations(config(tmp_path, [])) == []


@pytest.mark.parametrize("wrong", [[[RATIO]], [[RATIO, []]], [[RATIO, 0.2]], [["TRAINER.CLIPADAPTER.RATI", [0.2]]]])
def test_a_wrong_sweep_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="SWEEP"):
        combinations(config(tmp_path, wrong))


def test_values_have_the_type_of_their_key(tmp_path):
    (settings,) = combinations(config(tmp_path, [[LR, [1]]]))
    assert (settings[LR], type(settings[LR])) == (1.0, float)
    with pytest.raises(ConfigError, match=r"SWEEP: OPTIM.LR: expected float as in .*, got str 'fast'"):
        combinations(config(tmp_path, [[LR, [0.1, "fast"]]]))


def test_the_first_best_is_kept_and_counted(tmp_path):
    cfg = config(tmp_path, [[RATIO, [0.2, 0.4, 0.6]]])
    scores = {0.2: 50.0, 0.4: 70.0, 0.6: 70.0}
    chosen, settings, tried = sweep(cfg, lambda c: (scores[c.TRAINER.CLIPADAPTER.RATIO], 5))
    assert settings == {RATIO: 0.4}
    assert chosen.TRAINER.CLIPADAPTER.RATIO == 0.4
    assert chosen.SWEEP == []
    assert str(tmp_path) == chosen.OUTPUT_DIR
    assert tried == 15


def test_an_interrupted_sweep_goes_on(tmp_path):
    cfg = config(tmp_path, [[RATIO, [0.2, 0.4, 0.6]]])
    seen = []

    def score(c, stop_at=None):
        seen.append(c.TRAINER.CLIPADAPTER.RATIO)
        if seen[-1] == stop_at:
            raise KeyboardInterrupt
        return 100 - 50 * seen[-1], 1

    with pytest.raises(KeyboardInterrupt):
        sweep(cfg, lambda c: score(c, stop_at=0.6))
    sweep(cfg, score)
    assert seen == [0.2, 0.4, 0.6, 0.6]
    assert [entry["accuracy"] for entry in read_sealed(tmp_path / "sweep.json")["done"]] == [90.0, 80.0, 70.0]


def test_what_another_sweep_left_is_not_used(tmp_path):
    sweep(config(tmp_path, [[RATIO, [0.2, 0.4]]]), lambda c: (c.TRAINER.CLIPADAPTER.RATIO, 1))
    _, settings, _ = sweep(config(tmp_path, [[RATIO, [0.8, 0.4]]]), lambda c: (c.TRAINER.CLIPADAPTER.RATIO, 1))
    assert settings == {RATIO: 0.8}


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff\xfe", b"{}", b"[{}]", b"[[]]", json.dumps([{"settings": {RATIO: 0.4}}]).encode()]
)
def test_a_damaged_file_is_named_and_the_sweep_starts_anew(tmp_path, caplog, content):
    (tmp_path / "sweep.json").write_bytes(content)
    _, settings, _ = sweep(config(tmp_path, [[RATIO, [0.4, 0.2]]]), lambda c: (c.TRAINER.CLIPADAPTER.RATIO, 1))
    assert settings == {RATIO: 0.4}
    assert f"{tmp_path / 'sweep.json'} is damaged" in caplog.text


def test_a_checkpoint_to_resume_from_is_the_run_s_own_not_that_of_its_sweep(tmp_path):
    cfg = config(tmp_path, [[RATIO, [0.4, 0.2]]])
    cfg.defrost()
    cfg.RESUME = "somewhere"
    seen = []
    chosen, _, _ = sweep(cfg, lambda c: (seen.append(c.RESUME) or 1.0, 1))
    assert (seen, chosen.RESUME) == (["", ""], "somewhere")


def test_nothing_is_swept_where_nothing_may_be_selected_on(tmp_path):
    cfg = config(tmp_path, [[RATIO, [0.4, 0.6]]])
    chosen, settings, tried = sweep(cfg, lambda c: (None, 0))
    assert (settings, tried) == ({}, 0)
    assert chosen.TRAINER.CLIPADAPTER.RATIO == cfg.TRAINER.CLIPADAPTER.RATIO
    assert not (tmp_path / "sweep.json").exists()


def test_settings_leave_the_original_alone(tmp_path):
    cfg = config(tmp_path, [])
    copy = with_settings(cfg, {LR: 7.0}, "elsewhere")
    assert (copy.OPTIM.LR, copy.OUTPUT_DIR) == (7.0, "elsewhere")
    assert cfg.OPTIM.LR != 7.0
    assert copy.is_frozen()
