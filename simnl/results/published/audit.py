"""How published figures came about: what the authors' released code does, from `audit.csv`, and the marks that follow.

A finding says what released code does at one commit, with the lines that show it. It does not say that this code made a
printed figure, and it says nothing about what anybody intended. A figure of a method gets the marks of the findings on
its method, task and data set; where there is no finding, the mark says that nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from types import SimpleNamespace

from simnl.results.published import ARROW, AVERAGE, ZEROSHOT, Figure, read, source_row

IMAGENET = "imagenet"

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
    "i": "imported from the log of another program, which does not say its weights, split and prompts, and not ranked",
}
# What the protocol of an imported run is called where the run itself chose nothing.
LAST_EPOCH, NOTHING_TRAINED = "last epoch", "nothing trained"
RAISED = dict(zip(MARKS, "ᵗˢᵃᵛᶜᵘˡᵈᵒⁿⁱ", strict=True))  # above the line, where there is no markup
OF_SELECTION = {
    "test": "t", "source-test": "s", "target": "a", "full-val": "v", "k-val": "v", "constants": "c", "unknown": "n",
}  # fmt: skip
OF_DRAWS = {"own": "d", "unlabelled": "l"}
# The selections of published code that a protocol of this program equals.
EQUAL_SELECTION = {
    "no-val": ("none",), "fewshot-val": ("fewshot-val", "none"), "full-val": ("full-val", "none"),
    "oracle-test": ("test",),
}  # fmt: skip


class Finding(SimpleNamespace):
    """What the released code of a method does in one scope: a row of `audit.csv`, whose columns are the attributes."""

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


def raised(letters: str) -> str:
    """Letters of `MARKS` above the line."""
    return "".join(RAISED[letter] for letter in letters)


@cache
def findings() -> tuple[Finding, ...]:
    """All findings, in the order of the file; tests/results/test_audit.py checks each."""
    return tuple(Finding(**row) for row in read("audit"))


@cache
def findings_on(figure: Figure) -> tuple[Finding, ...]:
    """What is known of how a published figure came about; empty where nothing is.

    Raises:
        KeyError: an unknown source.
    """
    row = source_row(figure.source)
    task = figure.task or ("targets" if ARROW in figure.dataset else "fewshot")
    found = _findings_of(figure.method, figure.dataset, task)
    if row["others"] != "as reported" and figure.method != ZEROSHOT:  # who made rows of other methods, and how, is open
        found = [f for f in found if f.repository == row["repository"]]
    if len({f.variant for f in found}) > 1:
        found = [f for f in found if f.variant in figure.source]
    return tuple(found)


def marks_of(figure: Figure) -> str:
    """The letters of `MARKS` for a published figure; `n` where no finding is about it."""
    found = findings_on(figure)
    return ordered("".join(f.marks for f in found)) if found else "n"


def has_protocol(figure: Figure, protocol: str) -> bool:
    """True where everything known of a figure equals our protocol: its selection images, CoOp's draws, no test images.

    A protocol that is not in `EQUAL_SELECTION` equals none.
    """
    return _all_equal(findings_on(figure), protocol)


def _all_equal(found: Sequence[Finding], protocol: str) -> bool:
    equal = EQUAL_SELECTION.get(protocol, ())
    return bool(found) and all(
        f.selection in equal and f.draws in ("coop", "none") and f.transductive == "no" for f in found
    )


def marks_of_imported(method: str, dataset: str, task: str, protocol: str) -> str:
    """The letters of `MARKS` for the figure of an imported run: those of its method's released code, and `i`.

    Args:
        method, dataset, task: as of a published figure.
        protocol: as the record of the run says it; where that chose an epoch, it is not known on which images.
    """
    found = _findings_of(method, dataset, task)
    chose = protocol not in (LAST_EPOCH, NOTHING_TRAINED)
    letters = "".join(f.marks for f in found).replace("o", "")  # the table counts the runs
    return ordered(letters + "i" + ("n" if chose or not found else ""))


def imported_has_protocol(method: str, dataset: str, task: str, own: str, protocol: str) -> bool:
    """True where an imported run chose nothing itself and its method's released code equals our protocol.

    Args:
        own: the protocol of the imported run.
        protocol: that of our runs.

    The other arguments are those of `marks_of_imported`.
    """
    return own in (LAST_EPOCH, NOTHING_TRAINED) and _all_equal(_findings_of(method, dataset, task), protocol)


def _findings_of(method: str, dataset: str, task: str) -> list[Finding]:
    return [f for f in findings() if f.method == method and (method == ZEROSHOT or f.covers(task, dataset))]


def footnotes(marked: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence on the marks that a table or a figure shows; none where it shows none.

    Args:
        marked: the letters of a figure, and the name of its method.
    """
    used: dict[str, set[str]] = {}
    for letters, name in marked:
        for letter in letters:
            used.setdefault(letter, set()).add(name)
    notes = [f"({letter}) {', '.join(sorted(used[letter]))}: {MARKS[letter]}" for letter in MARKS if letter in used]
    if not notes:
        return []
    imported = "i" in used
    which, beside = " and imported" * imported, ", which need not be the code that ran" * imported
    what = f"what the authors' released code does (docs/audit.md){beside}"
    return [f"Letters at published{which} figures: {what}. {'; '.join(notes)}."]
