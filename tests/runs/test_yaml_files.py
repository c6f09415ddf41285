"""Yaml that is no config: told in one sentence, with the file and the key."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from simnl.locations import CONFIGS
from simnl.runs.config import ConfigError, assemble
from simnl.runs.values import coerce
from simnl.runs.yaml_files import ALIASES, read_yaml

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 4))
MERGED = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 15))

BAD = {
    "alias in itself": (b"OPTIM: &x {A: *x}", "OPTIM.A.*contains itself"),
    "alias in its own list": (b"OPTIM: {LR: &x [*x]}", "OPTIM.LR.*contains itself"),
    "billion laughs": ((LAUGHS + "b: [" + "*a3, " * 3 + "]").encode(), None),
    "many aliases": (MERGED.encode(), f"more than {ALIASES} aliases"),
    "NaN": (b"OPTIM: {LR: .nan}", "OPTIM.LR: .*finite"),
    "infinity": (b"OPTIM:\n  LR: -.inf", "OPTIM.LR: .*finite"),
    "beyond floats": (b"OPTIM: {LR: 1.0e+999}", "OPTIM.LR: .*finite"),
    "beyond floats, as text": (b"OPTIM: {LR: 1e999}", "OPTIM.LR: .*finite"),
    "NaN in a list": (b"OPTIM: {STEPSIZE: [1, .nan]}", "OPTIM.STEPSIZE: .*finite"),
    "a number of 400 digits": (b"OPTIM: {MAX_EPOCH: " + b"9" * 400 + b"}", "OPTIM.MAX_EPOCH: .*19 digits"),
    "a fraction of 400 digits": (b"OPTIM: {LR: " + b"9" * 400 + b"}", "OPTIM.LR: .*19 digits"),
    "a number of 5,000 digits": (b"OPTIM: {MAX_EPOCH: " + b"9" * 5000 + b"}", "x.yaml: not valid yaml"),
    "not UTF-8": ("OPTIM: {LR: ä}".encode("latin-1"), "not UTF-8"),
    "UTF-16": ("OPTIM: {LR: 1.0}".encode("utf-16"), "not UTF-8"),
    "NUL": (b"OPTIM: {LR: 1\0}", "not valid yaml"),
    "control character": (b"OPTIM: {LR: 1\x1b}", "not valid yaml"),
    "python object": (b"OPTIM: !!python/object/apply:os.system ['true']", "not valid yaml: .*python/object"),
    "unknown tag": (b"OPTIM: !mine 3", "not valid yaml: .*!mine"),
    "key twice": (b"OPTIM: {LR: 1.0, LR: 2.0}", "key LR is given twice"),
    "key twice, with dots": (b"OPTIM: {LR: 1.0}\nOPTIM.LR: 2.0", "OPTIM.LR is given twice"),
    "a number as key": (b"OPTIM: {1: 2}", "OPTIM: the key 1 must be text"),
    "true as key": (b"yes: 2", "the key True must be text"),
    "nothing as key": (b"~: 2", "the key None must be text"),
    "a list as key": (b"OPTIM: {[1]: 2}", "not valid yaml: .*unhashable"),
    "a date": (b"OPTIM: {LR: 2020-01-01}", "OPTIM.LR: .*date"),
    "a wrong date": (b"OPTIM: {LR: 2020-13-45}", "x.yaml: not valid yaml"),
    "bytes": (b"DATASET: {NAME: !!binary aGk=}", "DATASET.NAME: .*bytes"),
    "a set": (b"DATASET: {NAME: !!set {a, b}}", "DATASET.NAME: .*set"),
    "nothing": (b"DATASET: {NAME: }", "DATASET.NAME: expected str"),
    "a list for text": (b"DATASET: {NAME: [a]}", "DATASET.NAME: expected str"),
    "no for text": (b"DATASET: {NAME: no}", "DATASET.NAME: expected str.*quotes"),
    "nested deep": (b"A: " + b"[" * 500 + b"]" * 500, "nested more than"),
    "nested far too deep": (b"[" * 100_000, "not valid yaml"),
    "dashes": (b"- " * 100_000, "not valid yaml"),
    "two documents": (b"A: 1\n---\nB: 2", "not valid yaml"),
    "OVERRIDES without keys": (b"OVERRIDES:\n- {WHEN: , SET: {}}", "OVERRIDES must be a list"),
    "OVERRIDES of text": (b"OVERRIDES:\n- {WHEN: {}, SET: x}", "OVERRIDES must be a list"),
    "a node's key given a number": (b"OPTIM: 3", "unknown key OPTIM"),
}


def problem_of(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        assemble([path], [], {"TRAINER.NAME": "SimNL"})
    first, *rest = str(error.value).splitlines()
    assert first == "The config has problems:"
    return "\n".join(rest)


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_config_is_named(tmp_path, kind):
    content, message = BAD[kind]
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    told = problem_of(path)
    assert len(told) < 5000
    assert f"{path}: " in told
    assert message is None or re.search(message, told), told


def test_what_is_no_file_is_named(tmp_path):
    folder, loop, pipe, device = (tmp_path / f"{name}.yaml" for name in ("folder", "loop", "pipe", "device"))
    folder.mkdir()
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    assert f"{folder}: this is a folder" in problem_of(folder)
    assert f"{loop}: the file cannot be read: Too many levels of symbolic links" in problem_of(loop)
    assert f"{pipe}: this is not a file" in problem_of(pipe)
    assert f"{device}: this is not a file" in problem_of(device)
    assert "no such file" in problem_of(tmp_path / "absent.yaml")


def test_every_config_of_this_program_passes():
    for path in CONFIGS.glob("*/*.yaml"):
        assert isinstance(read_yaml(path), dict)
    assert read_yaml(CONFIGS / "trainers" / "SimNL.yaml")["OVERRIDES"]


def test_aliases_that_mean_well_pass(tmp_path):
    (tmp_path / "x.yaml").write_text("\ufeffA: &a {LR: 1}\nB: *a\nC: {<<: *a, LR: 2}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml") == {"A": {"LR": 1}, "B": {"LR": 1}, "C": {"LR": 2}}
    (tmp_path / "x.yaml").write_text("")
    assert read_yaml(tmp_path / "x.yaml") == {}


@pytest.mark.parametrize(
    "text",
    ["nan", "NaN", "-inf", "1e999", "-1e999", "9" * 400, "9" * 5000, "-" * 5000, "(" * 5000, "[" * 5000, "~" * 5000,
     "not " * 5000, "1+" * 5000 + "1", "1\0", "１", "²", "{'a': 1e999}", "1e3j"],
)  # fmt: skip
def test_options_of_any_kind_are_refused_in_a_few_words(text):
    with pytest.raises(ValueError, match="^expected ") as error:
        coerce(0.5, text)
    assert len(str(error.value)) < 200
    assert str(error.value).isprintable()
    with pytest.raises(ConfigError, match="command line: OPTIM.LR: expected"):
        assemble([], ["OPTIM.LR", text], {"TRAINER.NAME": "SimNL"})
    with pytest.raises(ConfigError, match="unknown key"):
        assemble([], [text, "1"], {"TRAINER.NAME": "SimNL"})
