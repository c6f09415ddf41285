"""Logs of Dassl's plugins: what is read, what belongs together, and what is left out with a reason."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import torch

from dassl.config import get_cfg_default
from dassl.evaluation import build_evaluator
from simnl.plugins import load_plugins
from simnl.results.dassl_log import read_log
from simnl.results.imported import place_of, records_below
from simnl.results.tables import find_records, render_tables, runs_table, summarise
from simnl.runs.record import read_record, write_record

load_plugins()
BAR = "*" * 15


def config_text(**settings: object) -> str:
    """The config as a plugin prints it: the engine's, with the key that CoOp adds, dumped by yacs."""
    cfg = get_cfg_default()
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.merge_from_list([part for key, value in settings.items() for part in (key.replace("__", "."), value)])
    return str(cfg)


def evaluation(total: int, correct: int) -> str:
    """What the engine's evaluator prints."""
    evaluator = build_evaluator(get_cfg_default())
    labels = torch.zeros(total, dtype=torch.int64)
    logits = torch.zeros(total, 2)
    logits[correct:, 1] = 1
    evaluator.process(logits, labels)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        evaluator.evaluate()
    return text.getvalue()


def log_file(folder: Path, *parts: str, arguments: dict | None = None, **settings: object) -> Path:
    """A log as CoOp's train.py and the engine write it."""
    settings = {"SEED": 1, "DATASET__NAME": "OxfordPets", "DATASET__NUM_SHOTS": 16, "TRAINER__NAME": "CoOp",
                "MODEL__BACKBONE__NAME": "ViT-B/16", **settings}  # fmt: skip
    given = {"backbone": "", "eval_only": False, "model_dir": "", **(arguments or {})}
    head = [BAR, "** Arguments **", BAR, *(f"{k}: {v}" for k, v in given.items()), BAR, "** Config **", BAR]
    middle = ["Collecting env info ...", "** System info **", "PyTorch version: 2.1.0+cu118", "Loading trainer: CoOp"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("\n".join([*head, config_text(**settings), *middle, *parts]))
    return folder / "log.txt"


def test_a_finished_run_becomes_a_record(tmp_path):
    folder = tmp_path / "oxford_pets" / "CoOp" / "vit_b16_16shots" / "nctx16_cscFalse_ctpend" / "seed1"
    log_file(folder, evaluation(50, 10), "Finish training", "Evaluate on the *test* set", evaluation(3669, 3301))
    ((record, problem),) = records_below(tmp_path)
    assert not problem
    assert record["accuracy"] == pytest.approx(100 * 3301 / 3669)  # to the digit, where the log says 90.0 %
    known = ("method", "dataset", "shots", "seed", "backbone", "preset", "protocol", "num_test", "subsample_classes")
    assert [record[key] for key in known] == [
        "CoOp", "oxford_pets", 16, 1, "ViT-B-16", "imported", "last epoch", 3669, "all",
    ]  # fmt: skip
    assert record["environment"] == {"packages": {"torch": "2.1.0+cu118"}}
    assert record["imported"]["log"].endswith("seed1/log.txt")
    assert not {"weights", "split_hash", "prompts", "hparams"} & set(record)  # the log does not say
    write_record(tmp_path / "out" / place_of(record), record)
    assert read_record(tmp_path / "out" / place_of(record) / "result.json") == record


def test_seeds_of_one_config_stand_in_one_cell(tmp_path):
    for seed, correct in ((1, 80), (2, 90), (3, 85)):
        log_file(tmp_path / "logs" / f"seed{seed}", "Finish training", evaluation(100, correct), SEED=seed)
    for record, _ in records_below(tmp_path / "logs"):
        write_record(tmp_path / "out" / place_of(record), record)
    found = find_records([tmp_path / "out"])
    text = render_tables([runs_table(summarise(found, "t"))], "csv")
    assert "last epoch,,,85.0," in text
    assert len(text.splitlines()) == 2  # one row below the names of columns


def test_heads_tested_elsewhere_belong_to_their_run(tmp_path):
    base = tmp_path / "output" / "base2new" / "train_base" / "oxford_pets" / "shots_16" / "CoOp" / "vit" / "seed1"
    log_file(base, "Finish training", evaluation(100, 90), DATASET__SUBSAMPLE_CLASSES="base")
    new = tmp_path / "output" / "base2new" / "test_new" / "oxford_pets" / "shots_16" / "CoOp" / "vit" / "seed1"
    named = {"eval_only": True, "model_dir": "output/base2new/train_base/oxford_pets/shots_16/CoOp/vit/seed1"}
    log_file(new, evaluation(100, 70), arguments=named, DATASET__SUBSAMPLE_CLASSES="new")
    cross = tmp_path / "output" / "evaluation" / "CoOp" / "vit_16shots" / "dtd" / "seed1"
    log_file(cross, evaluation(100, 40), arguments=named, DATASET__NAME="DescribableTextures")
    lost = tmp_path / "output" / "evaluation" / "CoOp" / "vit_16shots" / "dtd" / "seed2"
    log_file(lost, evaluation(100, 40), arguments={**named, "model_dir": "output/elsewhere/CoOp/vit/seed2"})
    found = list(records_below(tmp_path))
    ((record, _),) = [one for one in found if one[0]]
    assert (record["accuracy"], record["targets"]) == (90.0, {"new": 70.0, "cross:dtd": 40.0})
    (problem,) = [text for record, text in found if not record]
    assert "seed2" in problem
    assert "is not here" in problem


def test_the_epoch_that_was_tested_is_the_protocol(tmp_path):
    log_file(tmp_path, "Finish training", evaluation(100, 80), TEST__FINAL_MODEL="best_val")
    ((record, _),) = records_below(tmp_path)
    assert record["protocol"] == "best epoch on validation"


def test_folders_say_what_a_config_lacks(tmp_path):
    folder = tmp_path / "CoOp" / "rn50_ep50_8shots" / "seed3"
    path = log_file(folder, "Finish training", evaluation(100, 80))
    text = path.read_text().replace("SEED: 1\n", "").replace("  NUM_SHOTS: 16\n", "")
    path.write_text(text)
    log = read_log(path)
    assert (log.config["SEED"], log.config["DATASET.NUM_SHOTS"]) == ("3", "8")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not say TRAINER.NAME"),
        ("\x00\xff binary", "does not say TRAINER.NAME"),
        ("unfinished", "has no line 'Finish training'"),
        ("untested", "has no evaluation"),
        ("torn", "are not the 12.0 % beside them"),
        ("huge", "no accuracy from 0 to 100"),
    ],
)
def test_a_log_without_a_figure_is_left_out_with_a_reason(tmp_path, content, says):
    figures = {
        "unfinished": [evaluation(100, 80)],
        "untested": ["Finish training"],
        "torn": ["Finish training", evaluation(100, 80).replace("80.0%", "12.0%", 1)],
        "huge": ["Finish training", "=> result", "* accuracy: 812.0%"],
    }
    path = log_file(tmp_path / "bad", *figures.get(content, []))
    if content not in figures:
        path.write_text(content)
    log_file(tmp_path / "good", "Finish training", evaluation(10, 5))
    found = list(records_below(tmp_path))
    assert [record["accuracy"] for record, _ in found if record] == [50.0]
    (problem,) = [text for record, text in found if not record]
    assert says in problem
    assert str(path) in problem


def test_a_folder_without_logs_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no log\.txt below"):
        list(records_below(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(records_below(tmp_path / "missing"))
