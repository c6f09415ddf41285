"""tools/import_runs.py: records where they can be made, a reason where not, and exit code 1 where there are none."""

from __future__ import annotations

import sys

import import_runs as tool

LOG = """***************
** Arguments **
***************
eval_only: False
************
** Config **
************
DATASET:
  NAME: EuroSAT
  NUM_SHOTS: 4
MODEL:
  BACKBONE:
    NAME: RN50
SEED: {seed}
TEST:
  FINAL_MODEL: last_step
TRAINER:
  NAME: CoOp
Collecting env info ...
Finish training
=> result
* total: 8,100
* correct: {correct}
* accuracy: {accuracy}%
"""


def call(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["import_runs.py", *map(str, words)])
    return tool.main()


def test_import(tmp_path, monkeypatch, capsys):
    for seed, correct, accuracy in ((1, "4,050", "50.0"), (2, "8,100", "100.0"), (3, "9,999", "12.0")):
        folder = tmp_path / "logs" / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text(LOG.format(seed=seed, correct=correct, accuracy=accuracy))
    assert call(monkeypatch, tmp_path / "logs", "--output", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "2 runs imported, 1 logs left out." in out
    assert "seed3" in err
    assert "no accuracy from 0 to 100" in err
    assert len(list((tmp_path / "out" / "eurosat" / "CoOp" / "RN50_4shots").rglob("result.json"))) == 2

    (tmp_path / "logs" / "seed1" / "log.txt").write_text("nothing")
    (tmp_path / "logs" / "seed2" / "log.txt").write_text("nothing")
    assert call(monkeypatch, tmp_path / "logs", "--output", tmp_path / "none") == 1
    assert "gives a record" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
