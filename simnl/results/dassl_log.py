"""What one log of a plugin of Dassl says: the arguments, the whole config, the versions of libraries, the figures.

Nothing is guessed: what the log does not say is not there. Counts give the accuracy to the digit; the accuracy in the
log is rounded, to one decimal by Dassl 0.6 and to two by older ones.

Format: `print_args`, `Classification.evaluate` and `setup_logger` of Dassl 0.6.3, the words of older versions
(`Do evaluation on test set`) and of PromptSRC (`Finished training`), and the folders of CoOp's scripts,
`.../<dataset>/<trainer>/<config>_<K>shots/.../seed<S>/log.txt`. Where a log exists, Dassl writes the next one to
`log.txt-<time>`. A log that was captured with standard error has progress bars before its lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

LOG = "log.txt"
ALL = "all"  # classes, where the config does not say
FINISHED = re.compile(r"Finish(?:ed)? training\W*")
ANNOUNCED = re.compile(r"(?:Evaluate on the \*(\w+)\* set|Do evaluation on (\w+) set)")
RESULT = "=> result"
FIGURE = re.compile(r"\* (total|correct|accuracy): (\d[\d,]*(?:\.\d+)?)%?")
TITLE = re.compile(r"\*\* (.+) \*\*")
SHOTS, SEED = "DATASET.NUM_SHOTS", "SEED"
PLACE = {SEED: re.compile(r"seed_?(\d+)"), SHOTS: re.compile(r"(?:.*_)?(\d+)shots|shots_(\d+)")}
NEEDED = ("TRAINER.NAME", "DATASET.NAME", SHOTS, SEED)
INTEGER = re.compile(r"[+-]?\d{1,9}")
TORCH = "PyTorch version"
PACKAGE = re.compile(r"\[pip3?\] ([\w.-]+)==(\S+)")
DIGITS = 0.0501  # what rounding to one decimal can change


@dataclass
class Log:
    """What a log says.

    Attributes:
        path: the file.
        config: values as text by dotted key.
        tested_head: the folder of the run whose head was tested; empty for a run of its own, such as zero-shot CLIP.
        dataset: under the name of its yaml here, or under its own where it is not one of ours.
        classes: `all`, `base` or `new`.
        shots: training images per class; 0 where nothing was trained, below 0 for all images.
        seed: below 0 for none.
        accuracy: percent, of the evaluation on test images.
        total: test images; None where the log does not say.
        versions: of libraries, where the log says so.
        targets: accuracies on other data sets, or on `new` classes, from logs that tested the same head.
    """

    path: Path
    config: dict[str, str]
    tested_head: str
    dataset: str
    classes: str
    shots: int
    seed: int
    accuracy: float
    total: int | None
    versions: dict[str, str]
    targets: dict[str, float] = field(default_factory=dict)


def find_logs(folder: Path) -> list[Path]:
    """The logs below a folder, in the order of their paths.

    Raises:
        FileNotFoundError: there is no such folder, or no log in it.
    """
    named = (path for path in folder.rglob(f"{LOG}*") if path.name == LOG or path.name.startswith(f"{LOG}-"))
    found = sorted(path for path in named if path.is_file())
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
    given, config = (_pairs(parts.get(title, [])) for title in ("Arguments", "Config"))
    tests_only = given.get("eval_only") == "True"
    head = given.get("model_dir", "") if tests_only else ""
    if tests_only and not head:  # nothing was trained, as with zero-shot CLIP
        config |= {SHOTS: "0"} if SHOTS in config else {}
    else:
        config |= _from_folders(config, [Path(head).parts, path.parent.parts] if head else [path.parent.parts])
    missing = [key for key in NEEDED if not config.get(key)]
    if missing:
        raise ValueError(f"{path} does not say {', '.join(missing)}, so it is no log of a run by Dassl.")
    wrong = [key for key in (SHOTS, SEED) if not INTEGER.fullmatch(config[key])]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} is '{config[wrong[0]]}', which is no whole number.")
    accuracy, total = _figures(path, lines, tests_only)
    dataset, classes = _name_of(config["DATASET.NAME"]), config.get("DATASET.SUBSAMPLE_CLASSES") or ALL
    shots, seed = int(config[SHOTS]), int(config[SEED])
    return Log(path, config, head, dataset, classes, shots, seed, accuracy, total, _versions(lines))


def _name_of(dataset: str) -> str:
    if dataset not in DATASET_REGISTRY.registered_names():
        return dataset
    return getattr(DATASET_REGISTRY.get(dataset), "config_name", "") or dataset


def _from_folders(config: Mapping[str, str], folders: Sequence[Sequence[str]]) -> dict[str, str]:
    """Shots and seed as CoOp's folders say them, where the config does not, or has the default that stands for none."""
    found = {}
    for key, pattern in PLACE.items():
        matches = [m for parts in folders for m in map(pattern.fullmatch, reversed(parts)) if m]
        if matches and config.get(key, "-1") == "-1":
            found[key] = next(group for group in matches[0].groups() if group)
    return found


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
    """Of PyTorch, which has a line of its own, and of the packages that pip listed."""
    found = {m[1]: m[2] for m in map(PACKAGE.fullmatch, map(str.strip, lines)) if m}
    torch = [line.partition(":")[2].strip() for line in lines if line.startswith(f"{TORCH}:")]
    return found | ({"torch": torch[0]} if torch else {})


def _figures(path: Path, lines: Sequence[str], tests_only: bool) -> tuple[float, int | None]:
    """Accuracy in percent and number of images of the evaluation on test images, after training where there was any.

    Raises:
        ValueError: there is no such evaluation, or several that differ, or one whose figures contradict each other.
    """
    ends = [number for number, line in enumerate(lines) if FINISHED.fullmatch(line.strip())]
    if not (ends or tests_only):
        raise ValueError(f"{path} has no line 'Finish training': the run did not finish, so it has no figure.")
    found = _evaluations(lines[ends[-1] if ends else 0 :])
    if not found:
        where = "after training" if ends else "of test images"
        raise ValueError(f"{path} has no evaluation ('{RESULT}') {where}.")
    if any(one != found[0] for one in found):
        shown = ", ".join(f"{one.get('accuracy', '?')} %" for one in found)
        raise ValueError(
            f"{path} has {len(found)} evaluations of test images ({shown}), and nothing says which one is the run's."
        )
    total, correct = (found[0].get(name) for name in ("total", "correct"))
    printed = found[0].get("accuracy")
    accuracy = 100 * correct / total if total and correct is not None else printed
    if accuracy is None or not 0 <= accuracy <= 100:
        raise ValueError(f"{path}: the evaluation has no accuracy from 0 to 100.")
    if total and printed is not None and abs(accuracy - printed) > DIGITS:
        raise ValueError(f"{path}: {correct:.0f} of {total:.0f} images are not the {printed} % beside them.")
    return accuracy, int(total) if total else None


def _evaluations(lines: Sequence[str]) -> list[dict[str, float]]:
    """What each evaluation on test images printed; those on other images are left out."""
    split, found = "test", []
    current: dict[str, float] = {}
    for line in map(str.strip, lines):
        announced, figure = ANNOUNCED.search(line), FIGURE.fullmatch(line)
        if announced:
            split = announced[1] or announced[2]
        elif line.endswith(RESULT):  # behind a progress bar, where standard error was captured, too
            current = {}
            found += [current] if split == "test" else []
        elif figure:
            current[figure[1]] = float(figure[2].replace(",", ""))
    return found
