"""Benchmarks: both sides of a comparison give the same numbers, and the document's tables are what was measured."""

from __future__ import annotations

import copy
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import (
    closed_forms,
    direct,
    extraction,
    many_classes,
    many_records,
    many_rows,
    measure,
    memory,
    prompts,
    report,
    run,
    search,
    stand_ins,
    step_memory,
    table,
    training,
)
from benchmarks.measure import Rounds, command, interleave, reset_peak, resident
from benchmarks.memory import CHUNK, evaluation_of
from benchmarks.search import SMALL
from benchmarks.synthetic import OFFICIAL, make_head, make_problem
from helpers.table_records import record, write
from simnl.clip.text import class_weights
from simnl.fewshot.cache import instance_weights, slot_negative_keys
from simnl.fewshot.search import choose, count_grid
from simnl.results.tables import find_records
from simnl.sealed import seal_text
from simnl.studies.cells import Plan, Setup, Variant, plan_cells
from simnl.studies.executor import execute

CLASSES, SHOTS, WIDTH = 12, 4, 16


@pytest.fixture
def problem():
    return make_problem(CLASSES, SHOTS, WIDTH, 300)


def test_closed_forms_equal_the_gathers(problem):
    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    keys = slot_negative_keys(problem.support, CLASSES, SHOTS)
    gathered = direct.negative_keys(problem.support, CLASSES, range(CLASSES))
    torch.testing.assert_close(keys, gathered.flatten(0, 1), atol=1e-6, rtol=0)
    values = direct.instance_weights(problem.support, CLASSES, 0.5)
    torch.testing.assert_close(values.sum(1), instance_weights(problem.support, labels, CLASSES, 0.5))
    averaging = "normalize-mean-normalize"
    text = direct.text_classifier(problem.support, labels, CLASSES)
    torch.testing.assert_close(text, class_weights(problem.support, labels, CLASSES, averaging))


@pytest.mark.parametrize("axis", ["channel", "class"])
def test_the_direct_training_step_equals_the_program_s(problem, axis):
    head = make_head(problem, 0.1, **{**OFFICIAL, "consistency_axis": axis}).double()
    features, labels = problem.val.double(), problem.val_labels
    results = []
    for model in (head, direct.DirectSimNL(head)):
        losses = model.losses(features, labels)
        gradients = torch.autograd.grad(sum(losses.values()), list(head.parameters()))
        results.append((losses, gradients))
    (ours, our_gradients), (theirs, their_gradients) = results
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-6)  # keys are unit in float32
    for a, b in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_the_direct_search_gives_the_same_counts_and_winner(problem):
    head = make_head(problem, 0.3, **OFFICIAL).double()  # in float32 the two ways may round an image to either side
    features = problem.val.double()
    ours = count_grid(head, features, problem.val_labels, SMALL)
    theirs = direct.grid_counts(direct.DirectSimNL(head), features, problem.val_labels, SMALL)
    assert torch.equal(ours, theirs)
    assert choose(ours, SMALL, head.hparams, "first") == direct.first_maximum(theirs, SMALL)
    assert len(ours.unique()) > 5  # the settings do differ


def test_a_tiny_benchmark_runs_and_is_kept(tmp_path, capsys):
    run.main(["closed_forms", "search", "--tiny", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "negative keys, C = 4" in printed
    result = json.loads((tmp_path / "search.json").read_text())
    assert result["machine"]["cores"] >= 1
    assert result["size"] == "tiny"
    assert report.table(result) in printed


def test_a_ratio_is_that_of_rounds_with_its_quartiles():
    rounds = Rounds(direct=[2.0, 9.0, 4.0, 6.0, 8.0], fast=[1.0, 3.0, 4.0, 3.0, 2.0])  # ratios 2, 3, 1, 2, 4
    row = {"what": "x", **rounds.compared(factor=10)}
    assert row["seconds"] == {"direct": 60.0, "fast": 3.0}
    assert row["ratio"] == {"median": 20.0, "low": 20.0, "high": 30.0, "rounds": 5}
    assert "20 (20 to 30)" in report.table({"rows": [row]})
    assert " (" not in report.table({"rows": [{"what": "x", **Rounds(direct=[4.0], fast=[2.0]).compared()}]})


def test_cases_take_turns_until_enough(monkeypatch):
    calls = []
    cases = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert [len(times) for times in interleave(cases, 3).values()] == [3, 3]
    assert calls == ["a", "b"] * 4  # the first round is not counted
    monkeypatch.setattr("benchmarks.measure.MOST_ROUNDS", 7)
    assert len(interleave(cases, 3, enough=60)["a"]) == 7


def test_all_inputs_are_on_the_gpu_where_one_is_measured(make_believe_gpu, monkeypatch):
    monkeypatch.setattr(measure, "DEVICE", torch.device("cuda"))
    assert len(closed_forms.run("tiny")["rows"]) == 4
    for which in ("direct", *training.CASES):
        step = training.step_of(which, 4, 2, 8, 6)
        step()
        assert all(parameter.is_cuda for parameter in step.parameters)
    search.search_of(4, 2, 8, 12, axes=dict(SMALL.axes))()
    assert all(point() > 0 for point in search.direct_of(4, 2, 8, 12))
    memory.run_of(**memory.SIZES["tiny"])()
    clip = extraction.random_clip("tiny-clip", None, "fp32")
    for case in prompts.cases(clip, 4).values():
        case()


def test_a_gpu_that_is_not_there_is_told(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        run.main(["--device", "cuda", "--output", "x"])
    assert "finds no GPU here" in capsys.readouterr().err


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "choose from training" in capsys.readouterr().err


def test_the_document_s_tables_are_what_was_measured():
    results = report.load()
    assert set(results) == {*run.BY_DEFAULT, "files", "many_records", "many_classes"}
    text = report.DOCUMENT.read_text()
    assert report.document(results, text) == text
    for name in results:
        assert report.BEGIN.format(name) in text


def test_the_memory_of_a_command_is_its_own(tmp_path):
    _, usage = command(["-c", "print('here')"], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "here\n"
    assert usage.ru_maxrss / 1024 < 100 < resident("VmRSS")  # MB; this process has imported PyTorch
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        command(["-c", "1 / 0"], tmp_path / "log")


def test_results_keep_the_promised_ratios_of_work():
    """Noise free: counted operations and memory, not seconds."""
    rows = report.load()["training"]["rows"]  # of each size: plain, then with products that were kept
    for row, fewer in zip(rows, (3, 8, 5, 15), strict=True):
        assert row["flops"]["direct"] / row["flops"]["fast"] >= fewer
        assert row["memory_beyond_inputs"]["fast"] <= 0.6 * row["memory_beyond_inputs"]["direct"]


def test_a_mark_without_a_result_is_told():
    with pytest.raises(ValueError, match="nowhere"):
        report.document({}, report.BEGIN.format("nowhere") + "\n" + report.END)


def test_test_memory_does_not_grow_with_the_number_of_images():
    peaks = []
    for chunks in (2, 6):
        case = evaluation_of(20, 4, 64, chunks * CHUNK)
        case()
        before = resident("VmRSS")
        reset_peak()
        case()
        peaks.append(resident("VmHWM") - before)
    assert peaks[1] < peaks[0] + 2  # MB; all images at once would be 4 MB more


@pytest.mark.parametrize("method", ["PromptSRC", "TCP"])
def test_a_step_without_content_needs_what_a_real_one_does(method):
    """From pixels, and from features; the real one learns."""
    (yaml, arch), fakes = step_memory.BACKBONES["tiny"], FakeTensorMode(allow_non_fake_inputs=True)
    clip = extraction.random_clip(arch, None, "fp32")
    step = step_memory.step_of(method, yaml, clip, 3)
    learned = [tensor for tensor in step.given if tensor.requires_grad]
    before = [p.detach().clone() for p in learned]
    used = step.memory()
    assert not any(torch.equal(p, old) for p, old in zip(learned, before, strict=True))
    bare = replace(clip, model=copy.deepcopy(clip.model))
    step_memory.empty(bare.model, fakes)
    assert step_memory.step_of(method, yaml, bare, 3, mode=fakes).memory() == pytest.approx(used, rel=0.02)


def test_stand_ins_of_data_sets_are_run_on_as_they_are(tmp_path):
    stand_ins.lay_out(tmp_path / "data", "eurosat", shrink=10000)
    stand_ins.fill(tmp_path, "tiny", "", "eurosat", ["TipAdapter"], [1], [1])
    setup = Setup(str(tmp_path / "data"), str(tmp_path / "output"), str(tmp_path / "cache"), "tiny")
    (cell,) = plan_cells(setup, Plan("TipAdapter", "eurosat", 1, Variant()), [1])
    record = execute(cell)
    assert record["encoded_images"] == 0
    assert (record["num_classes"], record["num_test"]) == (10, 240)
    assert 20 < record["accuracy"] < 100  # classes can be told apart, and not without errors
    row = table.row("eurosat", "TipAdapter", [record])
    assert row["what"] == "eurosat: TipAdapter, 1 cell"
    assert row["seconds"]["fast"] == record["seconds"]["total"]
    assert "overhead" in row["note"]


def test_large_stores_and_folders_hold_what_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(many_rows, "PART", 100)
    path = tmp_path / "rows.sqlite"
    many_rows.fill(path, 250)
    many_rows.look_up_of(str(path), 250, 60)()  # it fails where a row is not there
    many_rows.add_of(str(path), 20, 8)()
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("SELECT count(*) FROM features").fetchone() == (270,)
    run_folder = write(tmp_path / "one", [record()]) / "0000"
    (run_folder / "config.yaml").write_text(seal_text("DATASET:\n  CONFIG: shapes\n  NUM_SHOTS: 1\n"))
    many_records.write_runs(tmp_path / "many", 40, run_folder)
    assert len(find_records([tmp_path / "many"])) == 40  # each of them a run of its own
    many_classes.fusion_of(4, 2, 8)()


def test_parts_are_of_the_table_alone(capsys):
    with pytest.raises(SystemExit):
        run.main(["search", "--datasets", "dtd"])
    assert "of `table` alone" in capsys.readouterr().err
