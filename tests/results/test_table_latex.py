"""Tables in a paper of two columns: they compile, fit, and can be referred to."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from helpers.logit_runs import add_detection, add_logits
from helpers.table_records import record, three, write
from simnl.config_names import known
from simnl.results.published import PAPER_A1, published_methods
from simnl.results.tables import LAYOUTS, Request, build, find_records, render_tables
from simnl.results.tables.common import ELEVEN

DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage{amssymb,array,booktabs,graphicx}
\begin{document}
%s
\end{document}
"""
POINTS = 2.0  # by which a line may stick out
ENOUGH = ("pdflatex", "amssymb.sty", "array.sty", "booktabs.sty", "graphicx.sty")


def is_installed(name: str) -> bool:
    if name == "pdflatex":
        return shutil.which(name) is not None
    return subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode == 0


MISSING = next((name for name in ENOUGH if not is_installed(name)), "") if shutil.which("kpsewhich") else "pdflatex"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Enough runs for pages to be too small: all methods on the eleven data sets, and every study."""
    runs = [
        r for m in known("trainers") for d in ELEVEN for k in (1, 16) for r in three(60.0, method=m, dataset=d, shots=k)
    ]
    targets = {"imagenetv2": 53.0, "imagenet_sketch": 33.0, "imagenet_a": 30.0, "imagenet_r": 60.0}
    runs += three(66.0, dataset="imagenet", shots=4, targets=targets)
    for method in ("SimNL", "TipAdapterF"):
        runs += three(80.0, method=method, subsample_classes="base", targets={"new": 60.0})
        runs += [r for noise in (0.1, 0.3, 0.5) for r in three(60.0, method=method, label_noise=noise)]
    for value in range(1, 9):
        options = {"TRAINER.SIMNL.ALPHA": float(value), "SEARCH.ENABLED": False}
        runs += three(66.0, dataset="imagenet", options=options)
    for options in ({"RERANK_WEIGHT": 0.0}, {"ADAPTERS": ["positive-text"]}, {"NEGATIVE_LOSS": "eq18"}):
        runs += three(58.0, options={f"TRAINER.SIMNL.{key}": value for key, value in options.items()})
    runs += three(
        61.0, dataset="imagenet", shots=2, targets={f"cross:{name}": 55.0 for name in ELEVEN if name != "imagenet"}
    )
    for protocol in ("no-val", "full-val", "oracle-test"):
        runs += three(62.0, dataset="dtd", shots=16, protocol=protocol)
    runs += three(50.0, dataset="imagefolder-" + "a_very_long_name_of_my_folder_with_50%_#1_" * 3)
    return find_records([write(tmp_path_factory.mktemp("runs"), runs)])


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Runs of all methods with logits and figures of detection."""
    found = find_records(
        [write(tmp_path_factory.mktemp("tested"), [record(method=m, targets={"new": 60.0}) for m in known("trainers")])]
    )
    add_logits(found)
    for one in found:
        add_detection(one)
    return found


@pytest.mark.skipif(bool(MISSING), reason=f"LaTeX is not installed: no {MISSING} (Debian: texlive-latex-extra)")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_compiles_and_fits(tmp_path, records, tested, layout):
    if layout in ("metrics", "ood", "tradeoff"):
        records = tested
    if layout == "cost":  # as many tables as data sets and shots, all alike
        records = [r for r in records if r["dataset"] in ("dtd", "imagenet")]
    text = latex(layout, records)
    (tmp_path / "paper.tex").write_text(DOCUMENT % text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert [line for line in re.findall(r"Overfull .hbox \(([\d.]+)pt", log) if float(line) > POINTS] == []
    assert re.findall(r"Float too large.*|Overfull .vbox.*|Too many unprocessed.*", log) == []
    assert "multiply defined" not in log


def latex(layout: str, records: list[dict], **request) -> str:
    return render_tables(build(layout, records, Request(**request)), "latex")


def captions(text: str) -> list[str]:
    return re.findall(r"\\caption\{(.*)\}", text)


def test_one_table_per_number_of_shots_where_a_page_is_too_small(records):
    paper = {*published_methods("RN50", 16, PAPER_A1), "GDA", "APE", "TipAdapter"}
    standard = [r for r in records if r["method"] in paper and not r["options"] and r["dataset"] in ELEVEN]
    standard = [r for r in standard if r["shots"] in (1, 16) and r["protocol"] == "fewshot-val"]
    title = r"Few-shot classification (RN50, repaired, fewshot-val): accuracy in \%"
    text = latex("fewshot", [r for r in standard if not r["label_noise"] and r["subsample_classes"] == "all"])
    assert captions(text) == [f"{title}, 1 shot.", f"{title}, 16 shots."]
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert labels == [f"tab:few-shot-classification-rn50-repaired-fewshot-val-{k}" for k in ("1-shot", "16-shots")]
    assert text.count("Backbone RN50") == 1  # the notes once,
    assert rf"Notes: below Table~\ref{{{labels[0]}}}." in text  # and where they are
    small = latex("fewshot", [*three(60.0), *three(50.0, shots=4)], sources=(), datasets=("dtd",))
    assert captions(small) == [f"{title}."]
    assert small.count(r"\emph{") == 2


def test_one_column_or_two():
    narrow = latex("fewshot", three(60.0), sources=(), datasets=("dtd",))
    assert r"\begin{table}" in narrow
    wide = latex("fewshot", three(60.0), sources=())
    assert r"\begin{table*}" in wide
    for text in (narrow, wide):  # the caption is short, the notes stand below
        assert max(map(len, captions(text))) < 80
        assert text.index(r"\caption") < text.index(r"\label") < text.index(r"\begin{tabular}")
        assert text.index(r"\end{tabular}") < text.index("Backbone RN50")


def test_rows_that_belong_together_stay_together(records):
    """A published row is never the first of a float."""
    runs = [r for i in range(30) for r in three(60.0, options={"TRAINER.SIMNL.ALPHA": float(i)})]
    runs += [r for m in known("trainers") for r in three(60.0, method=m)]
    text = latex("fewshot", runs, all_runs=True, datasets=("dtd",))
    firsts = re.findall(r"\\midrule\n(?:\\multicolumn.*\n)?(\S+)", text)
    assert len(firsts) > 1
    assert not {"published", "difference"} & set(firsts)
    assert all("part" in caption for caption in captions(text))


def test_labels_are_unique():
    other = three(60.0, weights_fingerprint="e" * 64, config_hash="x")
    text = latex("fewshot", [*three(60.0), *other])
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert labels == [labels[0], f"{labels[0]}-2"]


def test_names_are_those_of_papers():
    text = latex("fewshot", [record(method=m) for m in ("TipAdapterF", "LPPlusPlus", "APET")], sources=())
    for name in ("Tip-Adapter-F", "LP++", "APE-T", "OxfordPets", "Flowers102"):
        assert re.search(rf"(^|& ){re.escape(name)} ", text, re.M)
    assert "TipAdapterF" not in text
