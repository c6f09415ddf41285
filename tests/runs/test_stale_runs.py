"""A run goes on from what lies in its folder, so a folder of another run is refused, before anything is trained; and
what a failed run tells."""

from __future__ import annotations

import errno
import json
import shutil

import pytest

from helpers.images import make_images
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.identity import RunIdentity, config_hash
from simnl.runs.logs import run_log
from simnl.runs.run import run_one
from simnl.runs.stored_config import IDENTITY, take_folder, write_config
from simnl.sealed import read_sealed

RATIO = "TRAINER.CLIPADAPTER.RATIO"
QUICK = ["OPTIM.MAX_EPOCH", "2", "VIEWS.CACHE", "1", "VIEWS.TRAIN", "1", "VERBOSE", "False"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number, name in enumerate(("cat", "dog", "owl")):
        make_images(root / name, 10, size=32 + number)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def config(images, store, tmp_path):
    def make(*options, seed=1, folder="run", method="CLIPAdapter"):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        files.append(CONFIGS / "trainers" / f"{method}.yaml")
        typed = ["DATASET.FOLDER", str(images), "DATASET.NUM_SHOTS", "2", "STORE.ROOT", str(store), "SWEEP", "[]"]
        typed += ["OUTPUT_DIR", str(tmp_path / folder), "DATALOADER.NUM_WORKERS", "0", *QUICK, *options]
        return assemble(files, typed, {"TRAINER.NAME": method, "SEED": seed})

    return make


def take(cfg):
    take_folder(cfg, RunIdentity.of(cfg))


def test_another_run_is_refused_and_the_same_goes_on(config, tmp_path):
    first = run_one(config())
    assert read_sealed(tmp_path / "run" / IDENTITY) == {"config_hash": first["config_hash"], "seed": 1}
    before = (tmp_path / "run" / "result.json").read_bytes()
    for cfg, told in (
        (config(seed=2), "SEED is 1 there and 2 here"),
        (config("DATASET.NUM_SHOTS", "4", "OPTIM.LR", "0.1"), "DATASET.NUM_SHOTS is 2 there and 4 here; OPTIM.LR"),
        (config(method="ZeroshotCLIP"), "TRAINER.NAME is CLIPAdapter there and ZeroshotCLIP here"),
    ):
        with pytest.raises(ValueError, match=f"run holds another run: .*{told}.*--output-dir.* delete .*head"):
            run_one(cfg)
    assert (tmp_path / "run" / "result.json").read_bytes() == before
    assert run_one(config("TRAIN.PRINT_FREQ", "1"))["accuracy"] == first["accuracy"]  # changes no figure


def test_evaluation_and_preparation_leave_the_folder_alone(config, tmp_path):
    record = run_one(config())
    assert run_one(config(seed=2), train=False) is None
    other = run_one(config(seed=2), eval_only=True, model_dir=str(tmp_path / "run"))
    assert other["accuracy"] == record["accuracy"]  # the head of seed 1
    run_one(config(folder="elsewhere"), eval_only=True, model_dir=str(tmp_path / "run"))
    assert not (tmp_path / "elsewhere" / IDENTITY).exists()


def test_resume_from_another_folder_is_possible_and_told(config, tmp_path, caplog):
    record = run_one(config())
    again = run_one(config("RESUME", str(tmp_path / "run"), folder="again"))
    assert again["accuracy"] == record["accuracy"]
    assert "another run" not in caplog.text
    longer = run_one(config("RESUME", str(tmp_path / "run"), "OPTIM.MAX_EPOCH", "3", folder="longer"))
    assert longer["config_hash"] != record["config_hash"]
    assert "OPTIM.MAX_EPOCH is 2 there and 3 here" in caplog.text


def test_an_interrupted_sweep_of_another_config_is_not_taken_over(config, tmp_path, monkeypatch):
    scores = iter([(50.0, 1)])

    def killed_in_the_second(*_):
        try:
            return next(scores)
        except StopIteration:
            raise KeyboardInterrupt from None

    pairs = ["SWEEP", f"[['{RATIO}', [0.2, 0.4]]]"]
    with monkeypatch.context() as patch:
        patch.setattr("simnl.runs.run.validation_score", killed_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            run_one(config(*pairs))
    with pytest.raises(ValueError, match=r"DATASET.NUM_SHOTS is 2 there and 4 here"):
        run_one(config(*pairs, "DATASET.NUM_SHOTS", "4"))
    assert run_one(config(*pairs))["num_settings"] == 2
    assert run_one(config(*pairs))["swept"]  # and a finished one may be typed again


def test_folders_from_before_tell_by_record_or_config(config, tmp_path):
    cfg, folder = config(), tmp_path / "run"
    run_one(cfg)
    (folder / IDENTITY).unlink()
    take(cfg)  # the record's hash and seed are the same
    (folder / IDENTITY).write_text("{")  # damaged: the record tells
    with pytest.raises(ValueError, match="SEED is 1 there"):
        take(config(seed=2))
    for name in (IDENTITY, "result.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="OPTIM.LR"):
        take(config("OPTIM.LR", "0.1"))
    take(cfg)  # by config.yaml
    for name in (IDENTITY, "config.yaml"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"no file there says which one.* delete its files there: .*head"):
        take(cfg)
    shutil.rmtree(folder / "head")
    (folder / "head.safetensors").unlink()
    take(cfg)


def test_the_stored_config_of_a_swept_run_is_that_of_its_choice(config, tmp_path):
    cfg = config("SWEEP", f"[['{RATIO}', [0.2, 0.4]]]")
    write_config(config(RATIO, "0.4"))  # as runs from before left it
    (tmp_path / "run" / "head").mkdir()
    take(cfg)
    assert json.loads((tmp_path / "run" / IDENTITY).read_text())["config_hash"] == config_hash(cfg)


def test_changed_files_are_another_run_though_no_key_differs(config, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat, cat\ndog, dog\nowl, owl\n")
    options = ["DATASET.CLASSNAMES_FILE", str(names)]
    take(config(*options))
    (tmp_path / "run" / "head").mkdir()
    names.write_text("cat, Katze\ndog, Hund\nowl, Eule\n")
    with pytest.raises(ValueError, match="the method or a file that it reads has changed"):
        take(config(*options))


def test_a_run_that_failed_before_it_left_anything_holds_no_folder(config, tmp_path):
    take(config(seed=2))
    run_one(config())
    assert "SEED: 1" in (tmp_path / "run" / "config.yaml").read_text()


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def torch_on_a_full_disk():
    """As torch.save: closing its archive fails in turn, which hides the reason."""
    try:
        raise full()
    finally:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 174912 vs 174800")


def plainly():
    raise full()


def with_a_message():
    raise OSError("its images cannot be written. Make room there.") from full()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (torch_on_a_full_disk, "No space left on device: '{}'$"),
        (plainly, "No space left on device: '{}'$"),
        (with_a_message, "^its images cannot be written. Make room there.$"),
    ],
)
def test_a_full_disk_is_told_and_where(tmp_path, fail, message):
    with pytest.raises(OSError, match=message.format(tmp_path)), run_log(str(tmp_path), quiet=True):
        fail()


def test_the_traceback_of_a_failure_is_in_the_log_only(tmp_path, capsys):
    with pytest.raises(ValueError, match="wrong"), run_log(str(tmp_path), quiet=False):
        raise ValueError("wrong")
    assert "Traceback" not in "".join(capsys.readouterr())
    assert "ValueError: wrong" in (tmp_path / "log.txt").read_text()


def test_a_damaged_checkpoint_is_named_with_what_to_do(config, tmp_path):
    run_one(config())
    checkpoint = tmp_path / "run" / "head" / "model.pth.tar-2"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ValueError, match=f"{checkpoint} is damaged.* delete .*head and run again"):
        run_one(config())
    shutil.rmtree(tmp_path / "run" / "head")
    assert run_one(config())["accuracy"] >= 0
