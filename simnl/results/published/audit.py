"""How published figures came about: what the authors' released code does, from `audit.csv`, and the marks that follow.

A finding says what released code does at one commit, with the lines that show it. It does not say that this code made a
printed figure, and it says nothing about what anybody intended. A figure of a method gets the marks of the findings on
its method, task and data set; where there is no finding, the mark says that nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from simnl.results.published import AVERAGE, ZEROSHOT, Figure, read, source_row

ARROW = " -> "  # between the source and the target of a figure on a shifted data set
IMAGENET = "imagenet"
TASKS = ("fewshot", "targets", "base2new", "cross", "noise", "biomedical")
# On which images the epoch and the hyper-parameters were chosen; the words of the field stand in docs/audit.md.
SELECTIONS = ("none", "constants", "fewshot-val", "k-val", "full-val", "test", "source-test", "target", "unknown")
DRAWS = ("coop", "own", "none", "unlabelled")
CONFIDENCE = ("executed", "read", "inferred")
SUPERVISION = ("yes", "no")
# One piece of evidence: a file of the repository, or `owner/name@commit file` of another one, and its lines.
EVIDENCE = re.compile(r"([\w.-]+/[\w.-]+@[0-9a-f]+ )?[\w./+-]+:\d+(-\d+)?")

MARKS: dict[str, str] = {
    "t": "epoch or hyper-parameters are chosen on the test images",
    "s": "hyper-parameters are chosen on test images of the source data set, and nothing on the target",
    "a": "epoch or hyper-parameters are chosen on images of the shifted data set itself",
    "v": "epoch or hyper-parameters are chosen on more validation labels than min(K, 4) per class",
    "c": "constants differ between data sets, and the code does not say how they were found",
    "u": "a prediction depends on other test images (transductive)",
    "l": "images of the training split are used without labels",
    "d": "training images are drawn by code of their own, and are not CoOp's draws",
    "o": "one run",
    "n": "not known",
}
OF_SELECTION = {
    "test": "t", "source-test": "s", "target": "a", "full-val": "v", "k-val": "v", "constants": "c", "unknown": "n",
}  # fmt: skip
OF_DRAWS = {"own": "d", "unlabelled": "l"}
# The selections of published code that a protocol of this program equals.
EQUAL_SELECTION = {
    "no-val": ("none",), "fewshot-val": ("fewshot-val", "none"), "full-val": ("full-val", "none"),
    "oracle-test": ("test",),
}  # fmt: skip


class Finding(NamedTuple):
    """What the released code of a method does in one scope; the fields are the columns of `audit.csv`."""

    method: str
    variant: str
    repository: str
    commit: str
    scope: str
    tasks: str
    datasets: str
    selection: str
    draws: str
    num_seeds: str
    transductive: str
    epoch_selection: str
    hparam_selection: str
    num_settings: str
    selection_images: str
    seeds: str
    draws_detail: str
    same_images_for_cache_and_training: str
    per_dataset_constants: str
    views: str
    prompts: str
    transductive_detail: str
    backbones: str
    reported_value: str
    evidence: str
    note: str
    confidence: str

    def covers(self, task: str, dataset: str) -> bool:
        """True where the finding is about this task and data set; `average` stands for all of the eleven."""
        if task not in self.tasks.split():
            return False
        own = IMAGENET if dataset == IMAGENET else "ten"
        return self.datasets == "all" or dataset == AVERAGE or self.datasets == own

    @property
    def marks(self) -> str:
        """The letters of `MARKS` that the finding gives a figure, in their order."""
        found = {OF_SELECTION.get(self.selection, ""), OF_DRAWS.get(self.draws, "")}
        found |= {"u"} if self.transductive == "yes" else set()
        found |= {"o"} if self.num_seeds == "1" else set()
        return ordered("".join(found))


def ordered(letters: Iterable[str]) -> str:
    """Each letter once, in the order of `MARKS`."""
    known = set(letters)
    return "".join(letter for letter in MARKS if letter in known)


@cache
def findings() -> tuple[Finding, ...]:
    """All findings, in the order of the file.

    Raises:
        ValueError: a row has a word that its column does not know, or evidence without a place; with row and column.
    """
    rows = tuple(Finding(**row) for row in read("audit"))
    for number, row in enumerate(rows, start=2):
        for column, problem in problems(row).items():
            raise ValueError(f"simnl/results/published/audit.csv, line {number}, {column}: {problem}")
    return rows


def problems(finding: Finding) -> dict[str, str]:
    """{column: what is wrong with it}; empty for a sound finding."""
    vocabulary = {
        "datasets": ("all", IMAGENET, "ten"), "selection": SELECTIONS, "draws": DRAWS, "transductive": SUPERVISION,
        "confidence": CONFIDENCE,
    }  # fmt: skip
    wrong = {
        column: f"'{getattr(finding, column)}' is none of {', '.join(words)}."
        for column, words in vocabulary.items()
        if getattr(finding, column) not in words
    }
    if not finding.tasks or not set(finding.tasks.split()) <= set(TASKS):
        wrong["tasks"] = f"'{finding.tasks}' is not made of {', '.join(TASKS)}."
    if finding.num_seeds and not finding.num_seeds.isdecimal():
        wrong["num_seeds"] = f"'{finding.num_seeds}' is no number."
    if not re.fullmatch(r"[0-9a-f]{40}", finding.commit):
        wrong["commit"] = f"'{finding.commit}' is no commit of 40 hex digits."
    places = [place.strip() for place in finding.evidence.split(";")]
    if not all(EVIDENCE.fullmatch(place) for place in places):
        wrong["evidence"] = "Each piece, parted by semicolons, must be a file with its lines, such as main.py:12-20."
    return wrong


def task_of(dataset: str) -> str:
    """The task of a figure in `accuracy.csv`: `targets` for a shifted data set, or `fewshot`."""
    return "targets" if ARROW in dataset else "fewshot"


@cache
def findings_on(source: str, method: str, dataset: str, task: str = "") -> tuple[Finding, ...]:
    """What is known of how a published figure came about; empty where nothing is.

    Args:
        source: full name of the figure's source.
        method: its name in the published files.
        dataset: its name in the published files: a name, `source -> target`, or `average`.
        task: one of `TASKS`; empty: what the data set's name says.

    Raises:
        KeyError: an unknown source.
    """
    row, task = source_row(source), task or task_of(dataset)
    found = [f for f in findings() if f.method == method and (method == ZEROSHOT or f.covers(task, dataset))]
    if row["others"] != "as reported" and method != ZEROSHOT:  # who made the rows of other methods, and how, is open
        found = [f for f in found if f.repository == row["repository"]]
    if len({f.variant for f in found}) > 1:
        found = [f for f in found if f.variant in source]
    return tuple(found)


def marks_on(source: str, method: str, dataset: str, task: str = "") -> str:
    """The letters of `MARKS` for a published figure; `n` where no finding is about it. Arguments of `findings_on`."""
    found = findings_on(source, method, dataset, task)
    return ordered("".join(f.marks for f in found)) if found else "n"


def is_comparable(source: str, method: str, dataset: str, protocol: str, task: str = "") -> bool:
    """True where everything known of a figure equals our protocol: its selection images, CoOp's draws, no test images.

    Args:
        protocol: the protocol of our runs; one that is not in `EQUAL_SELECTION` equals none.

    The other arguments are those of `findings_on`.
    """
    found, equal = findings_on(source, method, dataset, task), EQUAL_SELECTION.get(protocol, ())
    return bool(found) and all(
        f.selection in equal and f.draws in ("coop", "none") and f.transductive == "no" for f in found
    )


def marks_of(figure: Figure) -> str:
    """The letters of `MARKS` for a published figure."""
    return marks_on(figure.source, figure.method, figure.dataset, figure.task)


def has_protocol(figure: Figure, protocol: str) -> bool:
    """`is_comparable` for a published figure."""
    return is_comparable(figure.source, figure.method, figure.dataset, protocol, figure.task)


def footnotes(used: Mapping[str, Iterable[str]]) -> list[str]:
    """One sentence on the marks that a table shows; none where it shows none.

    Args:
        used: {letter of `MARKS`: names of the methods whose figures bear it}.
    """
    notes = [
        f"({letter}) {', '.join(sorted(set(used[letter])))}: {MARKS[letter]}" for letter in MARKS if used.get(letter)
    ]
    if not notes:
        return []
    return [f"Letters at published figures: what the authors' released code does (docs/audit.md). {'; '.join(notes)}."]
