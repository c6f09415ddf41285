"""How published figures came about: the audit's files, the marks that follow, and the page made from both."""

from __future__ import annotations

import csv
import re

import pytest

from helpers.table_records import REPO
from simnl.results.published import PAPER_A1, PAPER_A2, Figure, read
from simnl.results.published.audit import MARKS, findings, findings_on, footnotes, has_protocol, marks_of, ordered
from simnl.results.published.page import END, START, link, refreshed

TIP, APE = "Tip-Adapter repository, log", "APE repository, notebook"
LDC_LOG, LDC_README = "LDC repository, log", "LDC repository, README"
# of a file or folder at a full commit, of an issue, or of a paper
ADDRESS = re.compile(
    r"https://github\.com/[\w.-]+/[\w.-]+/((blob|tree)/[0-9a-f]{40}/[\w./-]+|issues/\d+)|https://arxiv\.org/abs/[\d.]+"
)
LINES = re.compile(
    r"\[\S+:\d+(-\d+)?\]\(https://github\.com/[\w.-]+/[\w.-]+/blob/[0-9a-f]{7,40}/[\w./+-]+#L\d+(-L\d+)?\)"
)
SHARED = REPO.parent / "shared" / "audit"
# The words that the columns of audit.csv know; those of the field stand in docs/audit.md.
WORDS = {
    "tasks": "fewshot targets base2new cross noise biomedical",
    "datasets": "all imagenet ten",
    "selection": "none constants fewshot-val k-val full-val test source-test target unknown",
    "draws": "coop own none unlabelled",
    "transductive": "yes no",
    "confidence": "executed read inferred",
}


def published(source: str, method: str, dataset: str, task: str = "") -> Figure:
    return Figure(50.0, None, source, "", method, dataset, task)


@pytest.mark.parametrize(
    ("source", "method", "dataset", "marks"),
    [
        (PAPER_A1, "SimNL", "dtd", "vd"),  # the whole validation split, draws of its own; three seeds
        (PAPER_A1, "SimNL", "imagenet", "td"),
        (PAPER_A1, "SimNL", "average", "tvd"),  # of both
        (PAPER_A2, "SimNL", "imagenet -> imagenet_a", "ad"),
        (PAPER_A1, "TipAdapterF", "dtd", "tdo"),  # its epoch is chosen on test on every data set
        (TIP, "TipAdapter", "dtd", "vdo"),
        (TIP, "TipAdapter", "imagenet", "tdo"),
        (TIP, "CLIPAdapter", "dtd", "n"),  # made anew by others: what its authors do says nothing of it
        (APE, "TipAdapter", "dtd", "n"),
        (LDC_LOG, "LDC", "dtd", "vdo"),  # two findings, told apart by what the source is
        (LDC_README, "LDC", "dtd", "tdo"),
        (PAPER_A1, "CoOp", "dtd", "c"),
        (PAPER_A1, "ZeroshotCLIP", "dtd", ""),  # nothing can be chosen
        (PAPER_A2, "ZeroshotCLIP", "imagenet -> imagenet_a", ""),
        ("GDA repository, logs", "GDA", "imagenet -> imagenet_a", "sd"),
        ("TDA repository, README", "TDA", "dtd", "cuo"),
        ("SO repository, README", "LoRA", "dtd", "n"),
    ],
)
def test_marks_of_figures(source, method, dataset, marks):
    assert marks_of(published(source, method, dataset)) == marks


def test_base_to_new_figures_have_findings_of_their_own():
    assert marks_of(published("GDA repository, logs", "GDA", "dtd", "base2new")) == "vd"
    assert marks_of(published("GDA repository, logs", "GDA", "imagenet", "base2new")) == "td"
    assert marks_of(published("MaPLe repository, README", "MaPLe", "average", "base2new")) == ""
    assert marks_of(published("MaPLe repository, README", "CoOp", "average", "base2new")) == "n"


FIGURES = [
    (file, published(row["source"], row["method"], row["dataset"], task), float(row["accuracy"]))
    for file, task in (("accuracy", ""), ("base2new", "base2new"), ("sensitivity", ""))
    for row in read(file)
]


def test_every_figure_leads_to_its_source_and_to_what_is_known_of_it():
    """All rows: one source with an address that the page shows, a percentage, and the letters of its findings."""
    assert len(FIGURES) > 2000
    page = (REPO / "docs" / "audit.md").read_text(encoding="utf-8")
    sources = {row["source"]: row for row in read("sources")}
    assert len(sources) == len(read("sources"))
    for row in sources.values():
        assert ADDRESS.fullmatch(row["address"])
        assert f"[{row['source']}]({row['address']})" in page
        assert row["repository"] in row["address"] or row["address"].startswith("https://arxiv.org/abs/")
    for file, figure, accuracy in FIGURES:
        assert figure.source in sources, (file, figure)
        assert 0 < accuracy < 100, (file, figure)
        marks, found = marks_of(figure), findings_on(figure)
        assert set(marks) == set("".join(f.marks for f in found) if found else "n") <= set(MARKS)
        assert all(f.method == figure.method for f in found)
    assert {figure.source for _, figure, _ in FIGURES} == set(sources)  # and no source without a figure
    assert {row["method"] for row in read("accuracy")} > {"TIMO", "TIMOS", "CCAFT", "CLIPSVD", "ReHARK", "TDA"}


def test_every_claim_leads_to_its_lines():
    """All findings: each piece of evidence is a link to lines of a file at a commit, on the page below its claim."""
    page = (REPO / "docs" / "audit.md").read_text(encoding="utf-8")
    assert len(findings()) > 60
    for finding in findings():
        links = [link(place, finding) for place in finding.evidence.split(";")]
        assert all(LINES.fullmatch(one) for one in links)
        assert f"Evidence: {', '.join(links)}." in page


def test_every_finding_is_in_the_words_of_its_columns():
    for finding in findings():
        for column, words in WORDS.items():
            said = getattr(finding, column)
            assert said, (column, finding)
            assert set(said.split()) <= set(words.split()), (column, finding)
        assert re.fullmatch(r"\d*", finding.num_seeds), finding
        assert re.fullmatch(r"[0-9a-f]{40}", finding.commit), finding


def test_only_equal_protocols_are_comparable():
    assert not has_protocol(published(PAPER_A1, "SimNL", "dtd"), "full-val")  # draws of its own
    assert has_protocol(published(PAPER_A1, "ZeroshotCLIP", "dtd"), "no-val")
    assert has_protocol(published(PAPER_A1, "ZeroshotCLIP", "dtd"), "fewshot-val")
    assert not has_protocol(published(PAPER_A1, "CoOp", "dtd"), "no-val")  # constants per data set
    assert has_protocol(published("MaPLe repository, README", "MaPLe", "average", "base2new"), "no-val")
    assert not has_protocol(published(TIP, "CLIPAdapter", "dtd"), "no-val")  # nothing is known
    assert not has_protocol(published(PAPER_A1, "TipAdapterF", "dtd"), "fewshot-val")
    assert not has_protocol(published(PAPER_A1, "ZeroshotCLIP", "dtd"), "unheard-of")


def test_an_average_is_comparable_only_if_all_of_its_figures_are():
    found = findings_on(published(PAPER_A1, "SimNL", "average"))
    assert {finding.datasets for finding in found} == {"ten", "imagenet"}


def test_footnotes_are_sentences_in_the_order_of_the_marks():
    notes = footnotes([("n", "CLIP-Adapter"), ("t", "Tip-Adapter-F"), ("t", "APE"), ("t", "APE"), ("", "CoOp")])
    assert notes == [
        "Letters at published figures: what the authors' released code does (docs/audit.md). (t) APE, Tip-Adapter-F: "
        "epoch or hyper-parameters are chosen on the test images; (n) CLIP-Adapter: not known."
    ]
    assert footnotes([("", "CoOp")]) == []
    assert ordered("dtvt") == "tvd"


def test_evidence_leads_to_lines_at_the_commit():
    coop = next(finding for finding in findings() if finding.method == "CoOp")
    at = "https://github.com/KaiyangZhou/CoOp/blob/ff61507c790454bce7c5052c3ac39e60772f1f89"
    assert (
        link("datasets/imagenet.py:33-35", coop) == f"[datasets/imagenet.py:33-35]({at}/datasets/imagenet.py#L33-L35)"
    )
    assert link("README.md:24", coop).endswith("/README.md#L24)")
    other = "KaiyangZhou/Dassl.pytorch@c61a1b570ac6 dassl/config/defaults.py:216"
    assert "KaiyangZhou/Dassl.pytorch/blob/c61a1b570ac6/dassl/config/defaults.py#L216" in link(other, coop)


def test_the_page_is_made_from_the_files():
    path = REPO / "docs" / "audit.md"
    page = path.read_text(encoding="utf-8")
    advice = "python tools/audit.py --page"
    assert refreshed(page) == page, f"docs/audit.md is not what the audit's files say. Run: {advice}"
    with pytest.raises(ValueError, match="between which"):
        refreshed(page.replace(END, ""))
    assert page.count(START) == 1


def test_findings_are_those_of_the_audit():
    """Every row of the audit as it was handed over is here, with its evidence."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    with (SHARED / "audit.csv").open(newline="", encoding="utf-8") as file:
        given = {
            (row["repo"], row["dataset_scope"], row["evidence"], row["quote_free_note"]) for row in csv.DictReader(file)
        }
    assert {(f.repository, f.scope, f.evidence, f.note) for f in findings()} == given


def test_harmonic_means_are_those_of_the_averages():
    averages: dict[tuple[str, str], dict[str, float]] = {}
    for row in read("base2new"):
        if row["dataset"] == "average":
            averages.setdefault((row["source"], row["method"]), {})[row["classes"]] = float(row["accuracy"])
    assert len(averages) > 25
    others = {  # docs/audit.md says so of them
        ("CLIP-SVD repository, README", "GDA"): 78.72,
        ("PromptSRC repository, README", "ProDA"): 76.65,
    }
    for key, of in averages.items():
        harmonic = 2 * of["base"] * of["new"] / (of["base"] + of["new"])
        assert of["harmonic"] == pytest.approx(others.get(key, harmonic), abs=0.02), key
