"""Records from the logs that plugins of Dassl write, so that their runs stand in our tables.

A log holds the arguments, the whole config, what was loaded, and the figures. What it does not say is left out of the
record, and nothing is guessed: such a record has the preset `imported`, and its protocol says which epoch was tested.
Counts give the accuracy to the digit; the accuracy in the log is rounded to one decimal.

Format: `print_args`, `Classification.evaluate` and `setup_logger` of Dassl 0.6.3, and the folders of CoOp's scripts,
`.../<dataset>/<trainer>/<config>_<K>shots/.../seed<S>/log.txt`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY
from simnl.runs.record import NEW_CLASSES, SCHEMA

LOG = "log.txt"
PRESET = "imported"
FINISHED = ("Finish training", "Finished training")  # the second: PromptSRC's
RESULT = "=> result"
FIGURE = re.compile(r"\* (total|correct|accuracy): ([\d,.]+)%?")
TITLE = re.compile(r"\*\* (.+) \*\*")
PLACE = {"SEED": re.compile(r"seed_?(\d+)"), "DATASET.NUM_SHOTS": re.compile(r"(?:.*_)?(\d+)shots|shots_(\d+)")}
VERSIONS = {"PyTorch version": "torch", "Versions of relevant libraries": ""}
EPOCH = {"last_step": "last epoch", "best_val": "best epoch on validation"}
LOCAL = ("OUTPUT_DIR", "RESUME", "SEED", "DATASET.ROOT", "USE_CUDA", "VERBOSE", "DATALOADER.NUM_WORKERS")


@dataclass
class Log:
    """What a log says.

    Attributes:
        path: the file.
        arguments, config: values as text; the config's by dotted key.
        accuracy: percent, of the last evaluation; None where there is none that counts.
        total: test images.
        versions: of libraries, where the log says so.
        targets: accuracies on other data sets, or on `new` classes, from logs that tested the same head.
    """

    path: Path
    arguments: dict[str, str]
    config: dict[str, str]
    accuracy: float | None
    total: int | None
    versions: dict[str, str]
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def tests_only(self) -> bool:
        """True where a head of another run was tested."""
        return self.arguments.get("eval_only") == "True"

    @property
    def dataset(self) -> str:
        """The data set under the name of its yaml here, or under its own where it is not one of ours."""
        name = self.config.get("DATASET.NAME", "")
        known = name in DATASET_REGISTRY.registered_names()
        return getattr(DATASET_REGISTRY.get(name), "config_name", "") or name if known else name


def find_logs(folder: Path) -> list[Path]:
    """The logs below a folder, in the order of their paths.

    Raises:
        FileNotFoundError: there is no such folder, or no log in it.
    """
    found = sorted(folder.rglob(LOG)) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"There is no {LOG} below {folder}. Name the folder that the plugin wrote its runs to.")
    return found


def read_log(path: Path) -> Log:
    """What one log says.

    Raises:
        ValueError: it is no log of Dassl, the run did not finish, or a figure cannot be; the message says what.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    parts = _parts(lines)
    arguments, config = _pairs(parts.get("Arguments", [])), _pairs(parts.get("Config", []))
    for key, pattern in PLACE.items():  # CoOp's folders say these, too
        found = [m for m in map(pattern.fullmatch, reversed(path.parent.parts)) if m]
        if key not in config and found:
            config[key] = next(group for group in found[0].groups() if group)
    missing = [key for key in ("TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "SEED") if not config.get(key)]
    if missing:
        raise ValueError(f"{path} does not say {', '.join(missing)}, so it is no log of a run by Dassl.")
    log = Log(path, arguments, config, None, None, _versions(lines))
    log.accuracy, log.total = _figures(path, lines, log.tests_only)
    return log


def _parts(lines: Sequence[str]) -> dict[str, list[str]]:
    """The lines below each title between rows of stars, up to the next title or to what follows the config."""
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        title = TITLE.fullmatch(line.strip())
        if title:
            current = parts.setdefault(title[1], [])
        elif line.startswith(("Collecting env info", "Loading trainer")):
            current = []
        elif line.strip("*"):
            current.append(line)
    return parts


def _pairs(lines: Sequence[str]) -> dict[str, str]:
    """`KEY: value` lines as {dotted key: value as text}; two blanks are one step into a node."""
    found: dict[str, str] = {}
    nodes: list[str] = []
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if not colon:
            continue
        del nodes[(len(line) - len(line.lstrip())) // 2 :]
        if value.strip():
            found[".".join([*nodes, key])] = value.strip()
        else:
            nodes.append(key)
    return found


def _versions(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {VERSIONS[key]: value.strip() for key, _, value in pairs if VERSIONS.get(key)}


def _figures(path: Path, lines: Sequence[str], tests_only: bool) -> tuple[float, int | None]:
    """Accuracy in percent and number of images of the last evaluation, after training where there was any."""
    ends = [number for number, line in enumerate(lines) if line.strip() in FINISHED]
    if not (ends or tests_only):
        raise ValueError(f"{path} has no line '{FINISHED[0]}': the run did not finish, so it has no figure.")
    after = lines[ends[-1] if ends else 0 :]
    starts = [number for number, line in enumerate(after) if line.strip() == RESULT]
    if not starts:
        raise ValueError(f"{path} has no evaluation ('{RESULT}') after training.")
    figures = {
        m[1]: float(m[2].replace(",", "")) for m in map(FIGURE.fullmatch, map(str.strip, after[starts[-1] :])) if m
    }
    total, correct = figures.get("total"), figures.get("correct")
    accuracy = 100 * correct / total if total and correct is not None else figures.get("accuracy")
    if accuracy is None or not 0 <= accuracy <= 100:
        raise ValueError(f"{path}: the last evaluation has no accuracy from 0 to 100.")
    if total and "accuracy" in figures and abs(accuracy - figures["accuracy"]) > 0.0501:
        raise ValueError(
            f"{path}: {correct:.0f} of {total:.0f} images are not the {figures['accuracy']} % beside them."
        )
    return accuracy, int(total) if total else None


# ---------------------------------------------------------------------- logs of one run


def joined(logs: Sequence[Log]) -> tuple[list[Log], list[str]]:
    """Runs with the figures of the logs that tested their heads, and what was left over, in words.

    A log that tests only belongs to the run in the folder that its `model_dir` names. The base-to-new logs of CoOp's
    scripts are such pairs: the head of `train_base/...` is tested in `test_new/...`.
    """
    runs = [log for log in logs if not log.tests_only]
    left = []
    for log in (log for log in logs if log.tests_only):
        owners = [run for run in runs if _is_below(run.path.parent, log.arguments.get("model_dir", ""))]
        if len(owners) != 1 or log.accuracy is None:
            left.append(f"{log.path}: the run whose head it tests ({log.arguments.get('model_dir')}) is not here.")
            continue
        is_new = log.config.get("DATASET.SUBSAMPLE_CLASSES") == "new" and log.dataset == owners[0].dataset
        owners[0].targets[NEW_CLASSES if is_new else log.dataset] = log.accuracy
    return runs, left


def _is_below(folder: Path, named: str) -> bool:
    """True where a folder's path ends as the named one does, but for where the outputs as a whole lie."""
    parts = [part for part in Path(named).parts if part not in (".", "..", "/")]
    tails = [parts[start:] for start in range(max(1, len(parts) - 2))]
    return any(tail and list(folder.parts[-len(tail) :]) == tail for tail in tails)


def record_of(log: Log, root: Path) -> dict:
    """The record of a run; `root`: the folder that was read, below which its log lies."""
    config = log.config
    same = {key: value for key, value in sorted(config.items()) if key not in LOCAL}
    record = {
        "schema": SCHEMA,
        "method": config["TRAINER.NAME"],
        "dataset": log.dataset,
        "shots": int(config["DATASET.NUM_SHOTS"]),
        "seed": int(config["SEED"]),
        "backbone": config.get("MODEL.BACKBONE.NAME", "unknown").replace("/", "-"),
        "preset": PRESET,
        "protocol": EPOCH.get(config.get("TEST.FINAL_MODEL", ""), "unknown"),
        "config_hash": hashlib.sha256(repr(same).encode()).hexdigest()[:8],
        "accuracy": log.accuracy,
        "targets": log.targets,
        "imported": {
            "engine": "dassl",
            "log": log.path.relative_to(root).as_posix(),
            "sha256": hashlib.sha256(log.path.read_bytes()).hexdigest(),
            "config": same,
        },
    }
    if log.total is not None:
        record["num_test"] = log.total
    if config.get("DATASET.SUBSAMPLE_CLASSES"):
        record["subsample_classes"] = config["DATASET.SUBSAMPLE_CLASSES"]
    if log.versions:
        record["environment"] = {"packages": log.versions}
    return record


def records_below(folder: Path) -> Iterator[tuple[dict | None, str]]:
    """(record, "") for each run of a folder, and (None, what is wrong) for each log that gives none."""
    logs, problems = [], []
    for path in find_logs(folder):
        try:
            logs.append(read_log(path))
        except ValueError as error:
            problems.append(str(error))
    runs, left = joined(logs)
    for run in runs:
        yield record_of(run, folder), ""
    for problem in (*problems, *left):
        yield None, problem


def place_of(record: dict) -> str:
    """Where a record is put below the folder of imported runs; as `run_folder` puts those of our own."""
    shots = f"{record['backbone']}_{record['shots']}shots"
    parts = (record["dataset"], record["method"], shots, record["config_hash"], f"seed{record['seed']}")
    return "/".join(re.sub(r"[^\w.@+-]", "_", part) for part in parts)
