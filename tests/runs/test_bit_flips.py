"""No single flipped bit in the files of a finished run gives another figure: what reads them refuses, by name.

A flip that changes nothing that is read (white space of json, padding of an archive, the log) may pass.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dassl.utils import load_checkpoint
from helpers.damage import flip
from helpers.images import make_images
from simnl.fewshot.checkpoint import load_head
from simnl.fewshot.selection import EpochSelection
from simnl.locations import CONFIGS
from simnl.results.tables import find_records
from simnl.runs.config import assemble
from simnl.runs.identity import RunIdentity, config_hash
from simnl.runs.record import FILE, is_done, read_record
from simnl.runs.run import run_one
from simnl.runs.stored_config import IDENTITY, read_config, stored_keys, take_folder
from simnl.sealed import read_sealed

FLIPS = int(os.environ.get("FLIPS", "400"))  # over all files of the run; FLIPS=3000 for a thorough search
EPOCHS = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("flips")
    for number, name in enumerate(("cat", "dog", "owl")):
        make_images(root / "images" / name, 10, size=16 + number)
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]

    def make(folder: Path, *options: str):
        settings = {
            "TRAINER.NAME": "SimNL", "DATASET.CONFIG": "imagefolder", "DATASET.NUM_SHOTS": 2, "SEED": 3,
            "STORE.ROOT": str(root / "cache"), "OUTPUT_DIR": str(folder), "USE_CUDA": False, "VERBOSE": False,
            "DATASET.FOLDER": str(root / "images"), "PROMPTS.POSITIVE": ["a photo of a {}."], "VIEWS.TRAIN": 2,
        }  # fmt: skip
        method = CONFIGS / "trainers" / "SimNL.yaml"
        return assemble([*files, method], ["OPTIM.MAX_EPOCH", str(EPOCHS), *options], settings)

    return make


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run") / "seed3"
    run_one(config(folder))
    return folder


def plain(value: object) -> object:
    """Something that `==` compares to the bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return [(key, plain(one)) for key, one in value.items()]
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def resumed(path: Path) -> list[float]:
    return EpochSelection(path.parent, EPOCHS).scores


# How this program reads each file of a run; what has no reader here, nothing reads back.
READERS: dict[str, Callable[[Path], object]] = {
    FILE: read_record,
    IDENTITY: read_sealed,
    "config.yaml": lambda path: read_config(path.parent, {"OUTPUT_DIR": ""}),
    "selection.json": resumed,
    ".safetensors": load_head,
    ".pth.tar": lambda path: load_checkpoint(str(path)),
}
UNREAD = ("log.txt", "tensorboard", ".lock", "checkpoint")  # `checkpoint` names one, whose own check sum counts


def reader_of(path: Path) -> Callable[[Path], object] | None:
    return next((read for name, read in READERS.items() if name in path.name), None)


def outcome(read: Callable[[Path], object], path: Path, expected: object) -> str:
    try:
        found = plain(read(path))
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"refused without its name: {error}"
    return "the same" if found == expected else "another figure"


def test_every_file_of_a_run_has_a_reader_here_or_is_not_read_back(finished):
    for path in finished.rglob("*"):
        is_unread = any(part in UNREAD for part in path.relative_to(finished).parts)
        assert path.is_dir() or is_unread or reader_of(path), path


def test_no_flipped_bit_gives_another_figure(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    rng, counts = random.Random(11), Counter()
    files = {path: (reader_of(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if reader_of(path)}
    expected = {path: plain(read(path)) for path, (read, _) in files.items()}
    for number in range(FLIPS):
        path = list(files)[number % len(files)]
        read, content = files[path]
        place = rng.randrange(8 * len(content))
        path.write_bytes(flip(content, place))
        counts[outcome(read, path, expected[path])] += 1
        assert set(counts) <= {"refused", "the same"}, f"bit {place} of {path.name}: {counts}"
        path.write_bytes(content)
    assert counts["refused"] > counts["the same"]
    print(dict(counts))


def test_a_digit_of_alpha_in_the_metadata_is_refused(finished, tmp_path):
    path = tmp_path / "head.safetensors"
    with safe_open(finished / path.name, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    about = json.loads(metadata["about"])
    about["hparams"]["alpha"] += 1
    for changed in ({**metadata, "about": json.dumps(about)}, {"about": metadata["about"], "sha257": "0" * 64}):
        save_file(tensors, path, metadata=changed)
        with pytest.raises(ValueError, match=f"{path} .*check sum is wrong.* train again"):
            load_head(path)
    name = next(iter(tensors))
    save_file({**tensors, name: -tensors[name]}, path, metadata=metadata)
    with pytest.raises(ValueError, match="check sum is wrong"):
        load_head(path)


@pytest.mark.parametrize("text", [None, '"accuracy": ', "", "[" * 100_000, '{"a":' * 100_000])
def test_a_damaged_record_is_named_and_carried_out_again(config, finished, tmp_path, caplog, text):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    path, cfg = folder / FILE, config(folder)
    record = read_record(path)
    changed = path.read_text().replace(f'"accuracy": {record["accuracy"]}', '"accuracy": 99.0')
    path.write_text(changed if text is None else text)
    assert not is_done(folder, record["config_hash"])
    assert str(path) in caplog.text
    assert run_one(cfg)["accuracy"] == record["accuracy"]
    assert is_done(folder, record["config_hash"])


def test_a_damaged_identity_is_told_and_written_anew(config, finished, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for text in ((finished / IDENTITY).read_text().replace('"seed": 3', '"seed": 1'), "[" * 100_000, '{"seed": 1}'):
        caplog.clear()
        (folder / IDENTITY).write_text(text)
        take_folder(config(folder), RunIdentity.of(config(folder)))
        assert f"{folder / IDENTITY} is" in caplog.text
        assert (folder / IDENTITY).read_text() == (finished / IDENTITY).read_text()


def test_a_damaged_config_is_named_and_none_of_it_is_used(finished, tmp_path, caplog):
    text = (finished / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("MAX_EPOCH: 2", "MAX_EPOCH: 3"))
    with pytest.raises(ValueError, match=r"config.yaml is damaged .*remove its last line"):
        read_config(tmp_path)
    assert stored_keys(tmp_path) == {}
    assert "config.yaml is damaged" in caplog.text


@pytest.mark.parametrize(
    ("name", "match"),
    [("selection.json", "delete .*selection.json and the checkpoints"), ("best-epoch*", "delete .*and the checkpoints"),
     ("head/model.pth.tar-*", "delete .*head and run again")],
)  # fmt: skip
def test_a_run_does_not_go_on_from_damaged_files(config, finished, tmp_path, name, match):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / FILE).unlink()
    (path,) = folder.glob(name)
    content = path.read_bytes()
    path.write_bytes(flip(content, 8 * (len(content) // 2)))
    with pytest.raises(ValueError, match=match) as told:
        run_one(config(folder))
    assert str(path) in str(told.value)


def test_runs_of_earlier_versions_are_read_with_a_word(finished, tmp_path, caplog):
    """Those had no check sums: schema 1, scores as a list, heads and configs without one."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    record = read_record(folder / FILE) | {"schema": 1}
    (folder / FILE).write_text(json.dumps(record))
    assert is_done(folder, record["config_hash"])
    assert not caplog.text
    assert find_records([folder])[0]["accuracy"] == record["accuracy"]
    assert "1 of 1 records are of an earlier version, without a check sum" in caplog.text
    caplog.clear()
    scores = resumed(folder / "selection.json")
    (folder / "selection.json").write_text(json.dumps(scores))
    assert resumed(folder / "selection.json") == scores
    state, about = load_head(folder / "head.safetensors")
    save_file(state, folder / "head.safetensors", metadata={"about": json.dumps(about)})
    assert load_head(folder / "head.safetensors")[1] == about
    lines = (folder / "config.yaml").read_text().splitlines(keepends=True)
    (folder / "config.yaml").write_text("".join(lines[:-1]))
    assert config_hash(read_config(folder)) == config_hash(read_config(finished))
    assert caplog.text.count("damage in it cannot be found") == 3
