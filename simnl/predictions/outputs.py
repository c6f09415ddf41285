"""The results for images as lines for people, as a csv file, and as a json file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from simnl.escaping import csv_field, printable
from simnl.predictions.explain import Explanation
from simnl.predictions.predict import Prediction, Unreadable

NONE = "none of these"  # the label of an image below the threshold


@dataclass(frozen=True)
class Answer:
    """The result for an image.

    Attributes:
        path: the path of the image.
        label: the name of the most probable class, or `NONE`.
        top: (name, probability) of the most probable classes, the first of them first.
        why: the explanation; None if it was not asked for.
    """

    path: str
    label: str
    top: list[tuple[str, float]]
    why: Explanation | None = None

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        classnames: Sequence[str],
        topk: int = 1,
        threshold: float = 0.0,
        why: Explanation | None = None,
    ) -> Answer:
        """The result of a prediction. Below the threshold, a probability, the label is `NONE`."""
        top = [(classnames[index], probability) for index, probability in prediction.best(topk)]
        return cls(prediction.path, top[0][0] if top[0][1] >= threshold else NONE, top, why)

    def line(self) -> str:
        """`cat.png  circle  97.3 %`, followed by further classes if there are any."""
        top = ", ".join(f"{printable(name)} {100 * probability:.1f} %" for name, probability in self.top)
        best = f"{100 * self.top[0][1]:.1f} %" if len(self.top) == 1 and self.label != NONE else f"({top})"
        return f"{printable(self.path)}  {printable(self.label)}  {best}"


def csv_text(answers: Sequence[Answer]) -> str:
    """Columns path, label, probability; with further classes also class2, probability2 and so on."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    number = max((len(answer.top) for answer in answers), default=1)
    more = [name for i in range(2, number + 1) for name in (f"class{i}", f"probability{i}")]
    writer.writerow(["path", "label", "probability", *more])
    for answer in answers:
        others = [value for name, p in answer.top[1:] for value in (csv_field(name), f"{p:.6f}")]
        writer.writerow([csv_field(answer.path), csv_field(answer.label), f"{answer.top[0][1]:.6f}", *others])
    return file.getvalue()


def json_text(answers: Sequence[Answer], unreadable: Sequence[Unreadable], head: dict) -> str:
    """An object with `head`, `images` and `unreadable`; `images` have path, label, top, and why with explanations."""
    images = []
    for answer in answers:
        entry: dict[str, object] = {"path": answer.path, "label": answer.label}
        entry["top"] = [{"class": name, "probability": probability} for name, probability in answer.top]
        images.append(entry if answer.why is None else {**entry, "why": asdict(answer.why)})
    bad = [asdict(one) for one in unreadable]
    return json.dumps({"head": head, "images": images, "unreadable": bad}, indent=1, allow_nan=False) + "\n"
