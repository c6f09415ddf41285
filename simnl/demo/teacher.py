"""The thread that loads the model, learns and labels. It does one thing at a time, from one copy of the page.

Its `Result` is always replaced as a whole, so that labels, probabilities and evidence of two trainings are never mixed.
A change of what is learned ends a running training. Encoding goes on, because the next training can use the features.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simnl import bars
from simnl.demo.lesson import Lesson, Setup
from simnl.demo.session import Session
from simnl.errors import describe, is_for_people

if TYPE_CHECKING:  # it imports PyTorch
    from simnl.demo.learning import Fit, Model, Probabilities

log = logging.getLogger(__name__)

QUIET, PATIENCE = 0.05, 0.5  # work begins after so many seconds without a change, and after at most so many
TRAINING = "Training"  # what the classifier's bar says
WORDS = {
    "Encoding images": "Encoding pictures", "Encoding prompts": "Reading the prompts", TRAINING: "Learning",
}  # fmt: skip


class Replaced(Exception):
    """The current work is out of date, or the page is closed."""


@dataclass(frozen=True)
class Status:
    """What the thread does.

    Attributes:
        phase: `loading`, `working`, `waiting` (something is missing), `ready`, `failed` (there is no model), or
            `problem` (learning failed).
        text: a sentence about it.
        done, total: the progress, if something is counted.
    """

    phase: str
    text: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Result:
    """The labels of the new pictures by their numbers, all from one fit."""

    fit: Fit
    labels: Mapping[int, Probabilities] = field(default_factory=dict)


class Teacher:
    """The thread.

    Attributes, which `session.changed` guards:
        status: what the thread does.
        model: the frozen CLIP; None until it is loaded.
        result: the newest result, which may be older than the page; None until something was learned.
        published: the number of results so far.
        seen: the revision of the session with which the thread has finished.
    """

    def __init__(self, session: Session, setup: Setup):
        self.session = session
        self.status = Status("loading", "Loading the program…")
        self.model: Model | None = None
        self.result: Result | None = None
        self.published = 0
        self.seen = -1
        self._setup = setup
        self._fits = 0
        self._thread = threading.Thread(target=self._run, name="teacher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Tell the thread to end, and wait for at most so many seconds. Returns whether it has ended."""
        self.session.close()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        if not self._load():
            return
        while True:
            lesson = self._next()
            if lesson is None:
                return
            try:
                with bars.watched(functools.partial(self._tell, lesson.key)):
                    self._teach(lesson)
                self.seen = lesson.revision
            except Replaced:
                continue
            except Exception as error:
                self.seen = lesson.revision
                self._fail("problem", error)

    def _load(self) -> bool:
        try:
            from simnl.demo import learning

            self._learning = learning
            self._show("loading", "Loading the model…")
            model = learning.open_model(self._setup)
        except Exception as error:
            self._fail("failed", error)
            return False
        with self.session.changed:
            self.model = model
        return True

    def _next(self) -> Lesson | None:
        """A copy of the page, once it has changed and then stayed the same for a moment; None if it was closed."""
        changed, session = self.session.changed, self.session
        with changed:
            changed.wait_for(lambda: session.closed or session.revision != self.seen)
            end = time.monotonic() + PATIENCE
            revision = -1
            while not session.closed and revision != session.revision and time.monotonic() < end:
                revision = session.revision
                changed.wait_for(lambda: session.closed or session.revision != revision, QUIET)  # noqa: B023
            return None if session.closed else session.lesson()

    def _teach(self, lesson: Lesson) -> None:
        if missing := lesson.missing():
            self._show("waiting", missing)
            return
        fit = self.result.fit if self.result else None
        if fit is None or fit.key != lesson.key:
            self._show("working", "Learning…")
            fit = self._learning.learn(lesson, self._need_model(), self._fits + 1, self.session.folder / "features")
            self._fits += 1
            self._publish(Result(fit), lesson)
        self._label(fit, lesson)
        self._show("ready", "Ready.")

    def _label(self, fit: Fit, lesson: Lesson) -> None:
        """Label the new pictures that have no label yet, a few at a time."""
        known = self.result.labels if self.result else {}
        labels = {number: known[number] for number, _ in lesson.new if number in known}
        todo = [(number, path) for number, path in lesson.new if number not in labels]
        step = self._learning.PICTURES
        for start in range(0, len(todo), step):
            self._tell(lesson.key, "Labelling pictures", start, len(todo))
            part = todo[start : start + step]
            found = self._learning.label(fit, [path for _, path in part])
            labels |= {number: one for (number, _), one in zip(part, found, strict=True)}
            self._publish(Result(fit, dict(labels)), lesson)

    def _need_model(self) -> Model:
        if self.model is None:
            raise RuntimeError("The model is not loaded.")
        return self.model

    # ------------------------------------------------------------------ what others see

    def _publish(self, result: Result, lesson: Lesson) -> None:
        with self.session.changed:
            self._check(lesson.key)
            self.result = result
            self.published += 1

    def _check(self, key: str) -> None:
        if self.session.closed or self.session.key != key:
            raise Replaced

    def _tell(self, key: str, what: str, done: int, total: int | None) -> None:
        if self.session.closed or not what.startswith("Encoding"):
            self._check(key)
        self._show("working", WORDS.get(what, what), done, total)

    def _show(self, phase: str, text: str, done: int | None = None, total: int | None = None) -> None:
        with self.session.changed:
            self.status = Status(phase, text, done, total)

    def _fail(self, phase: str, error: Exception) -> None:
        if is_for_people(error):
            text = describe(error)
            log.log(logging.WARNING if phase == "failed" else logging.INFO, "%s", text)
        else:
            text = f"A defect stopped it ({type(error).__name__}: {describe(error)}). The terminal says where."
            log.error("A defect stopped what the page asked for:", exc_info=error)
        self._show(phase, text)
