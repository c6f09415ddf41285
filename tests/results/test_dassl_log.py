"""Logs in the shapes in which plugins of Dassl have left them, and tests of heads whose training is not at hand.

The lines are those of public logs: CLAP's repository (`output/FINAL/debug`), KgCoOp's issue 2, MaPLe's issue 17.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from simnl.plugins import load_plugins
from simnl.results.dassl_log import find_logs, read_log
from simnl.results.imported import records_below

load_plugins()
HEAD = """***************
** Arguments **
***************
backbone: {backbone}
config_file: configs/trainers/{trainer}/vit_b16.yaml
eval_only: {eval_only}
head: {nothing}
model_dir: {model_dir}
opts: ['DATASET.NUM_SHOTS', '16']
seed: {seed}
trainer: {trainer}
************
** Config **
************
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: 4
DATASET:
  CIFAR_C_TYPE: {nothing}
  NAME: {dataset}
  NUM_SHOTS: {shots}
  ROOT: /data
  SUBSAMPLE_CLASSES: {classes}
MODEL:
  BACKBONE:
    NAME: ViT-B/16
    PRETRAINED: True
  INIT_WEIGHTS: {nothing}
OUTPUT_DIR: output
RESUME: {nothing}
SEED: {seed}
TEST:
  FINAL_MODEL: last_step
TRAINER:
  DDAIG:
    G_ARCH: {nothing}
    LMDA: 0.3
  NAME: {trainer}
VERSION: 1
Collecting env info ...
** System info **
PyTorch version: 1.13.1
OS: Ubuntu 20.04.5 LTS (x86_64)

Versions of relevant libraries:
[pip3] numpy==1.21.5
[pip3] torchvision==0.14.1
[conda] torchvision               0.14.1                 py37_cpu    pytorch
        Pillow (9.4.0)

Loading trainer: {trainer}
Loading dataset: {dataset}
"""
KGCOOP = """Reading split from ./Prompt/datasets/eurosat/split_zhou_EuroSAT.json
Loading preprocessed few-shot data from ./Prompt/datasets/eurosat/split_fewshot/shot_16-seed_1.pkl
SUBSAMPLE BASE CLASSES!
***** Dataset statistics *****
  Dataset: EuroSAT
   classes: 5
   test: 4,200
Loading CLIP (backbone: ViT-B/16)
epoch [100/100][1/1]\ttime 0.855 (0.855)\tdata 0.743 (0.743)\teta 0:00:00\tloss 0.7314 (0.7314)\tacc 85.0000 (85.0000)
Finish training
Do evaluation on test set
=> result
* total: 4,200
* correct: 3,600
* accuracy: 85.71%
* error: 14.29%
* macro_f1: 85.52%
Elapsed: 0:01:58
"""
MAPLE = """---------  ------------
Dataset    FGVCAircraft
# classes  50
# train_x  800
# test     1,666
---------  ------------
Evaluate on the *val* set
=> result
* total: 200
* correct: 100
* accuracy: 50.0%
Finish training
Deploy the last-epoch model
Evaluate on the *test* set
\r  0%|          | 0/17 [00:00<?, ?it/s]\r100%|##########| 17/17 [00:09<00:00,  1.72it/s]=> result
* total: 1,666
* correct: 622
* accuracy: 37.3%
* error: 62.7%
* macro_f1: 35.6%

=> per-class result
* class: 0 (707-320)\ttotal: 33\tcorrect: 12\tacc: 36.4%
* average: 37.3%
Elapsed: 0:10:37
"""
TEST = """Evaluate on the *test* set
=> result
* total: 1,000
* correct: {correct}
* accuracy: {accuracy}%
* error: 1.0%
"""


def write(path: Path, trainer: str, body: str, dataset: str = "EuroSAT", **given: object) -> Path:
    """A log with the head of all of them; `given`: other arguments and keys of the config."""
    said = {"backbone": "", "eval_only": False, "model_dir": "", "seed": 1, "shots": 16, "classes": "all", **given}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD.format(trainer=trainer, dataset=dataset, nothing="", **said) + body, newline="")
    return path


def test_of(correct: int) -> str:
    return TEST.format(correct=f"{correct:,}", accuracy=f"{correct / 10:.1f}")


test_of.__test__ = False  # it makes a log


def test_an_older_log_and_a_new_one_with_progress_bars_and_other_evaluations(tmp_path):
    old = read_log(write(tmp_path / "a" / "log.txt", "KgCoOp", KGCOOP, classes="base"))
    assert (old.accuracy, old.total, old.dataset, old.classes) == (100 * 3600 / 4200, 4200, "eurosat", "base")
    assert old.versions == {"torch": "1.13.1", "numpy": "1.21.5", "torchvision": "0.14.1"}
    assert old.config["TRAINER.DDAIG.LMDA"] == "0.3"  # below a key without a value
    new = read_log(write(tmp_path / "b" / "log.txt", "MaPLe", MAPLE, "FGVCAircraft", classes="base"))
    assert (new.accuracy, new.total) == (100 * 622 / 1666, 1666)  # the test images, and not those before


def test_a_run_that_was_started_again_is_in_a_log_with_the_time(tmp_path):
    folder = tmp_path / "eurosat" / "CoOp" / "seed1"
    write(folder / "log.txt", "CoOp", "epoch [5/50][1/1]\n")
    write(folder / "log.txt-2023-05-04-10-11-12", "CoOp", f"Finish training\n{test_of(800)}")
    write(folder / "log.txt-2023-05-04-10-22-12", "CoOp", f"Finish training\n{test_of(800)}")
    (folder / "log.txt.bak").write_text("no log")
    assert len(find_logs(tmp_path)) == 3
    found = list(records_below(tmp_path))
    assert [record["accuracy"] for record, _ in found if record] == [80.0]
    assert [problem for _, problem in found if problem] == [
        f"{folder / 'log.txt'} has no line 'Finish training': the run did not finish, so it has no figure."
    ]


@pytest.mark.parametrize(
    ("body", "given", "says"),
    [
        (f"Finish training\n{test_of(800)}{test_of(700)}", {}, "2 evaluations of test images (80.0 %, 70.0 %)"),
        ("Finish training\nEvaluate on the *val* set\n=> result\n* accuracy: 80.0%\n", {}, "no evaluation"),
        (f"Finish training\n{test_of(800)}", {"shots": "sixteen"}, "'sixteen', which is no whole number"),
        (f"Finish training\n{test_of(800)}", {"shots": -1}, "all images and not on a number of shots"),
        ("Finish training\n=> result\n* total: ...\n", {}, "no accuracy from 0 to 100"),
        (">> Use regular base!\n", {"eval_only": True, "model_dir": "x/seed1"}, "no evaluation"),  # CLAP's, cut off
    ],
)
def test_what_cannot_be_told_is_left_out_with_the_reason(tmp_path, body, given, says):
    path = write(tmp_path / "log.txt", "CoOp", body, **given)
    ((record, problem),) = records_below(tmp_path)
    assert record is None
    assert says in problem
    assert str(path) in problem


def test_zero_shot_clip_is_a_run_of_its_own_without_images(tmp_path):
    write(tmp_path / "log.txt", "ZeroshotCLIP", test_of(412), eval_only=True, seed=-1, shots=-1)
    ((record, _),) = records_below(tmp_path)
    assert [record[key] for key in ("shots", "seed", "accuracy", "protocol")] == [0, -1, 41.2, "nothing trained"]


def test_tests_belong_to_the_run_of_their_own_data_set(tmp_path):
    """Folders of CoOp's scripts differ in the data set alone, far from their end."""
    for name, folder, correct in (("EuroSAT", "eurosat", 900), ("OxfordPets", "oxford_pets", 940)):
        rest = f"{folder}/shots_16/MaPLe/vit_b16_c2_ep5_batch4_2ctx/seed1"
        tested = {"eval_only": True, "model_dir": f"output/base2new/train_base/{rest}", "shots": -1}
        for part, classes, body, given in (
            ("train_base", "base", f"Finish training\n{test_of(correct)}", {}),
            ("test_base", "base", test_of(correct), tested),
            ("test_new", "new", test_of(correct - 200), tested),
        ):
            write(tmp_path / "base2new" / part / rest / "log.txt", "MaPLe", body, name, classes=classes, **given)
    found = list(records_below(tmp_path))
    assert [problem for _, problem in found if problem] == []
    assert {r["dataset"]: (r["accuracy"], r["targets"]) for r, _ in found} == {
        "eurosat": (90.0, {"new": 70.0}), "oxford_pets": (94.0, {"new": 74.0}),
    }  # fmt: skip


def test_heads_that_were_downloaded_have_tests_alone(tmp_path):
    head = {"eval_only": True, "model_dir": "weights/base2new/train_base/eurosat/shots_16/MaPLe/vit/seed1", "shots": -1}
    write(tmp_path / "base" / "log.txt", "MaPLe", test_of(940), classes="base", **head)
    write(tmp_path / "new" / "log.txt", "MaPLe", test_of(730), classes="new", **head)
    write(tmp_path / "again" / "log.txt", "MaPLe", test_of(935), classes="base", **head)
    source = {**head, "model_dir": "weights/imagenet/MaPLe/vit_16shots/seed1"}
    write(tmp_path / "imagenet" / "log.txt", "MaPLe", test_of(700), "ImageNet", **source)
    write(tmp_path / "v2" / "log.txt", "MaPLe", test_of(640), "ImageNetV2", **source)
    write(tmp_path / "dtd" / "log.txt", "MaPLe", test_of(460), "DescribableTextures", **source)
    found = list(records_below(tmp_path))
    records = {r["dataset"]: r for r, _ in found if r}
    assert [records["eurosat"][key] for key in ("shots", "accuracy", "targets")] == [16, 93.5, {"new": 73.0}]
    assert records["imagenet"]["targets"] == {"imagenetv2": 64.0, "cross:dtd": 46.0}
    (problem,) = [text for _, text in found if text]
    assert "it says 94.00 % where" in problem  # two tests of one head that differ: the other one is named
