"""Records from the logs that plugins of Dassl write, so that their runs stand in our tables.

What a log does not say is left out of the record, and nothing is guessed: such a record has the preset `imported`, and
its protocol says which epoch was tested. `simnl.results.tables.beside` puts such runs into our tables.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from simnl.errors import describe
from simnl.fewshot.capabilities import CROSS, NEW_CLASSES
from simnl.results.dassl_log import DIGITS, Log, find_logs, read_log
from simnl.results.published.audit import LAST_EPOCH, NOTHING_TRAINED
from simnl.results.tables.records import IMPORTED
from simnl.runs.record import SCHEMA
from simnl.studies.choices import variants_of

TELLING = 3  # folders that tell runs apart, such as <data set>/<config>/<seed>, wherever these were moved to
EPOCH = {"last_step": LAST_EPOCH, "best_val": "best epoch on validation"}
LOCAL = ("OUTPUT_DIR", "RESUME", "SEED", "DATASET.ROOT", "USE_CUDA", "VERBOSE", "DATALOADER.NUM_WORKERS")


def _joined(logs: Sequence[Log], root: Path) -> tuple[list[Log], list[str]]:
    """Runs with the figures of the logs that tested their heads, and what was left over, in words.

    Of several logs of one folder and config the first counts. A log that tests only belongs to the run in the folder
    that its `model_dir` names. The base-to-new logs of CoOp's scripts are such pairs: the head of `train_base/...` is
    tested in `test_new/...`. Where only tests of a head are here, as after a download of released weights, the test on
    the data that `model_dir` names is the run.
    """
    kept: dict[tuple, Log] = {}
    left, tests = [], [log for log in logs if log.tested_head]
    for log in (log for log in logs if not log.tested_head):
        first = kept.setdefault((log.path.parent, config_hash(log), log.seed), log)
        left.append(_difference(log, first, first.accuracy))
    runs = list(kept.values())
    lost = [log for log in tests if not _owner(runs, log, root)]
    own = [  # the folder of the tested head names the data set of the test, and the classes are not the new ones
        log
        for log in lost
        if log.dataset in Path(log.tested_head).parts and log.classes != NEW_CLASSES and log.shots > 0
    ]
    runs += {log.tested_head: log for log in reversed(own)}.values()
    for log in (log for log in tests if not any(log is run for run in runs)):
        owner = _owner(runs, log, root)
        gone = f"{log.path}: the run whose head it tests ({log.tested_head}) is not here."
        left.append(_add(owner, log) if owner else gone)
    return runs, [problem for problem in left if problem]


def _owner(runs: Sequence[Log], log: Log, root: Path) -> Log | None:
    """The run whose head a log tested: the one in the folder that it names, but for where the outputs as a whole lie,
    or the one that stands for the same head."""
    named = tuple(part for part in Path(log.tested_head).parts if part not in (".", "..", "/"))
    for run in runs:
        folder = run.path.parent
        below = folder.relative_to(root).parts
        is_named = folder.resolve().parts[-len(named) :] == named
        is_moved = len(below) >= TELLING and named[-len(below) :] == below
        if run.tested_head == log.tested_head or (not run.tested_head and named and (is_named or is_moved)):
            return run
    return None


def _add(run: Log, log: Log) -> str:
    """Give a run the figure of a log that tested its head; what is wrong with it, empty where nothing is."""
    name = NEW_CLASSES if log.classes == NEW_CLASSES else ""  # empty: the run's own test images
    if log.dataset != run.dataset:
        name = log.dataset if log.dataset in variants_of(run.dataset) else f"{CROSS}{log.dataset}"
    return _difference(log, run, run.targets.setdefault(name, log.accuracy) if name else run.accuracy)


def _difference(log: Log, run: Log, known: float) -> str:
    """What is wrong where a log has another figure than the one that is known of a run; empty where it has not."""
    if abs(known - log.accuracy) <= DIGITS:
        return ""
    return f"{log.path}: it says {log.accuracy:.2f} % where {run.path}, or another test of its head, says otherwise."


def _shared_config(log: Log) -> dict[str, str]:
    """All keys of the config that can change a figure."""
    return {key: value for key, value in sorted(log.config.items()) if key not in LOCAL}


def config_hash(log: Log) -> str:
    """A hash of these keys."""
    return hashlib.sha256(repr(_shared_config(log)).encode()).hexdigest()[:8]


def _record_of(log: Log, root: Path) -> dict:
    """The record of a run whose log lies below `root`."""
    config = log.config
    epoch = EPOCH.get(config.get("TEST.FINAL_MODEL", ""), "unknown")
    record = {
        "schema": SCHEMA,
        "method": config["TRAINER.NAME"],
        "dataset": log.dataset,
        "shots": log.shots,
        "seed": log.seed,
        "backbone": config.get("MODEL.BACKBONE.NAME", "unknown").replace("/", "-"),
        "preset": IMPORTED,
        "protocol": epoch if log.shots > 0 else NOTHING_TRAINED,
        "config_hash": config_hash(log),
        "accuracy": log.accuracy,
        "targets": log.targets,
        IMPORTED: {
            "engine": "dassl",
            "log": log.path.relative_to(root).as_posix(),
            "sha256": hashlib.sha256(log.path.read_bytes()).hexdigest(),
            "config": _shared_config(log),
        },
        "num_test": log.total,
        "subsample_classes": config.get("DATASET.SUBSAMPLE_CLASSES"),
        "environment": {"packages": log.versions} if log.versions else None,
    }
    return {key: value for key, value in record.items() if value not in (None, "")}


def records_below(folder: Path) -> Iterator[tuple[dict | None, str]]:
    """(record, "") for each run of a folder, and (None, what is wrong) for each log that gives none."""
    logs, problems = [], []
    for path in find_logs(folder):
        try:
            logs.append(read_log(path))
        except (OSError, ValueError) as error:
            problems.append(describe(error))
    runs, left = _joined(logs, folder)
    for run in runs:
        if run.shots < 0:
            why = "it trained on all images and not on a number of shots, so no table has a place"
            problems.append(f"{run.path}: {why}.")
        else:
            yield _record_of(run, folder), ""
    yield from ((None, problem) for problem in (*problems, *left))


def place_of(record: dict) -> str:
    """Where a record is put below the folder of imported runs; as `run_folder` puts those of our own."""
    shots = f"{record['backbone']}_{record['shots']}shots"
    parts = (record["dataset"], record["method"], shots, record["config_hash"], f"seed{record['seed']}")
    return "/".join(re.sub(r"[^\w.@+-]", "_", part) for part in parts)
