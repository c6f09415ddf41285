"""Legends bear the marks of tables, and a figure says below itself what they mean, in the words of tables."""

from __future__ import annotations

from matplotlib.figure import Figure

from helpers.table_records import three
from simnl.results.plots import points
from simnl.results.plots.drawing import svg
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.plots.series import Wanted
from simnl.results.tables import render_tables
from simnl.results.tables.common import Request
from simnl.results.tables.layouts import build

SHOTS = (1, 16)
OURS = [
    run
    for shots in SHOTS
    for method, mean in (("SimNL", 60.0), ("TipAdapterF", 58.0), ("CoOp", 50.0))
    for run in three(mean + shots, method=method, shots=shots)
]
SEES_ALL = [run for k in SHOTS for run in three(55.0 + k, method="TransCLIP", shots=k, inference="transductive")]


def drawn(records: list[dict], kind: str = "fewshot", published: bool = False) -> tuple[list[str], str]:
    """The legend's entries, and the notes below."""
    (figure,) = RECORD_KINDS[kind](records, Wanted(published=published)).values()
    return [text.get_text() for text in figure.legends[0].get_texts()], notes_of(figure)


def notes_of(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts if text is not figure._suptitle)


def test_published_curves_bear_the_letters_and_the_sentence_of_the_table():
    labels, notes = drawn(OURS, published=True)
    assert labels[3:] == ["CoOp, publishedᶜ", "Tip-Adapter-F, publishedᵗᵈᵒ", "SimNL, publishedᵛᵈ"]
    (table,) = build("fewshot", OURS, Request(methods=("SimNL", "TipAdapterF", "CoOp"), datasets=("dtd",)))
    (said,) = [sentence for sentence in table.caption if sentence.startswith("Letters at published figures")]
    assert notes == said


def test_methods_that_look_at_the_test_images_bear_the_mark_of_the_table():
    labels, notes = drawn(OURS + SEES_ALL)
    assert labels == ["CoOp", "Tip-Adapter-F", "TransCLIP†", "SimNL"]
    text = " ".join(render_tables(build("fewshot", OURS + SEES_ALL, Request()), "terminal").split())
    assert notes
    assert notes in text
    assert drawn(OURS + SEES_ALL, "cost")[0] == labels


def test_imported_runs_bear_their_letters():
    said = {"preset": "imported", "protocol": "last epoch", "imported": {}}
    labels, notes = drawn([{**run, **said} for run in OURS if run["method"] != "SimNL"])
    assert labels == ["CoOpᶜⁱ", "Tip-Adapter-Fᵗᵈⁱ"]
    assert "(i) CoOp, Tip-Adapter-F: imported from the log of another program" in notes


def test_a_figure_without_marks_has_no_notes_and_one_with_notes_is_taller():
    labels, notes = drawn(OURS)
    assert labels == ["CoOp", "Tip-Adapter-F", "SimNL"]
    assert notes == ""
    (plain,) = RECORD_KINDS["fewshot"](OURS).values()
    (noted,) = RECORD_KINDS["fewshot"](OURS, Wanted(published=True)).values()
    assert noted.get_figheight() > plain.get_figheight() + 0.3
    svg(noted)  # lays the figure out
    axes, legend = noted.axes[0].get_tightbbox(), noted.legends[0].get_window_extent()
    (note,) = [text for text in noted.texts if text is not noted._suptitle]
    assert axes.y0 >= legend.y1 - 1  # nothing lies on anything else
    assert legend.y0 >= note.get_window_extent().y1 - 1


def test_a_point_of_the_trade_off_is_of_one_config(monkeypatch):
    runs = [{**run, "path": str(n)} for n, run in enumerate(OURS[:3])]
    other = {**runs[0], "path": "other", "config_hash": "ffffffff"}
    seen: list[dict] = []
    monkeypatch.setattr(points, "points", lambda records, score: seen.extend(records) or {})
    assert points.TRADEOFF.draw("title", [other, *runs], Wanted()) is None
    assert seen == runs
