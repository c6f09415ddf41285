"""The state of the page as json: its content, what the thread does, the labels, and why a picture has its label."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from simnl.demo.errors import Refused
from simnl.demo.items import NEW, Picture
from simnl.demo.pictures import MAX_FILE
from simnl.demo.session import Session
from simnl.demo.teacher import Result, Status, Teacher

if TYPE_CHECKING:
    from simnl.demo.learning import Fit

SETTLED = ("waiting", "ready", "problem")  # phases in which nothing goes on
CHANGED = Status("working", "Learning…")  # until the thread has looked at a change
OUTDATED = "This label is out of date: the page has learned anew since. Open the picture again."


def state_of(session: Session, teacher: Teacher, content: str = "", labels: str = "") -> dict[str, Any]:
    """The state, without the parts that the page has already in the versions `content` and `labels`."""
    with session.changed:
        result = teacher.result
        is_current = result is not None and result.fit.key == session.key
        status = teacher.status
        if status.phase in SETTLED and teacher.seen != session.revision:
            status = CHANGED
        state: dict[str, Any] = {"status": asdict(status), "current": is_current}
        loaded = teacher.model is not None
        if (version := f"{session.revision}-{loaded}") != content:
            state["content"] = {"version": version, **_content(session, teacher)}
        if (version := f"{teacher.published}") != labels:
            state["labels"] = {"version": version, **_labels(result)}
        return state


def _content(session: Session, teacher: Teacher) -> dict[str, Any]:
    model, settings = teacher.model, session.settings
    methods = [asdict(method) for method in model.methods] if model else []
    templates, negative = (model.templates, model.negative_templates) if model else ((), ())
    return {
        "model": {"backbone": model.backbone, "tiny": model.is_tiny} if model else None,
        "methods": methods,
        "settings": {
            "method": settings.method,
            "templates": list(settings.templates or templates),
            "negative": list(settings.negative_templates or negative),
        },
        "classes": [
            {
                "number": one.number,
                "name": one.name,
                "sentences": list(one.sentences),
                "pictures": _pictures(session.of_place(one.number)),
            }
            for one in session.classes.values()
        ],
        "new": _pictures(session.of_place(NEW)),
        "head": session.head[1] if session.head else None,
        "limits": {"file": MAX_FILE},
    }


def _pictures(pictures: list[Picture]) -> list[dict[str, Any]]:
    return [{"number": one.number, "name": one.name, "size": list(one.shape)} for one in pictures]


def _labels(result: Result | None) -> dict[str, Any]:
    if result is None:
        return {"fit": None, "of": {}}
    fit, about = result.fit, result.fit.head.about
    return {
        "fit": {
            "number": fit.number,
            "method": about.method,
            "backbone": about.backbone.name,
            "classes": list(about.classnames),
            "pictures": fit.pictures,
            "shots": about.num_shots,
            "seconds": fit.seconds,
        },
        "of": {str(number): [list(pair) for pair in best] for number, best in result.labels.items()},
    }


def evidence(session: Session, teacher: Teacher, number: int, picture: int, has_support: bool) -> dict[str, Any]:
    """Why a picture has its label, as json: an `Explanation`, with the addresses of support pictures.

    Args:
        session, teacher: those of the page.
        number: the number of the fit that gave the label.
        picture: the number of the picture.
        has_support: True if a folder with the support images of a loaded head was given.

    Raises:
        Refused: the fit is not the newest one any more, or the picture is gone.
    """
    from simnl.demo import learning

    with session.changed:
        result, path = teacher.result, session.picture(picture).path
    if result is None or result.fit.number != number:
        raise Refused(OUTDATED, 409)
    try:
        why = learning.why(result.fit, str(path))
    except OSError as error:  # removed while it was read
        raise Refused(OUTDATED, 409) from error
    support = [
        {"name": name, "value": value, "picture": _address(result.fit, name, has_support)}
        for name, value in why.support
    ]
    return {**asdict(why), "support": support}


def _address(fit: Fit, name: str, has_support: bool) -> str:
    """The address of the picture of a support image; empty if it cannot be shown."""
    if name in fit.support:
        return f"pictures/{fit.support[name]}"
    names = fit.head.about.support
    return f"support/{names.index(name)}" if has_support and name in names else ""
