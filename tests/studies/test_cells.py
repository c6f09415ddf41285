"""The cells of a matrix and who works on them."""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import benchmark
import pytest
import run
from filelock import FileLock
from rich.console import Console

from helpers.images import make_images
from simnl.config_names import known
from simnl.locations import CONFIGS
from simnl.numbers import seeds_from
from simnl.results.overview import overview, problems
from simnl.runs.folder import LOCK
from simnl.runs.names import display_name
from simnl.runs.record import SCHEMA
from simnl.sealed import seal
from simnl.studies import executor
from simnl.studies.cells import (
    Cell,
    Plan,
    Setup,
    Variant,
    build_cells,
    build_config,
)
from simnl.studies.choices import PAPER_DATASETS, default_datasets, default_methods, other_datasets
from simnl.studies.definitions import Request, cells_of
from simnl.studies.launch import Workers, describe_cell, report_lost
from simnl.studies.progress import Progress
from simnl.studies.workers import EventLog, Worker

RECORD = {
    "schema": SCHEMA, "method": "ZeroshotCLIP", "dataset": "shapes", "shots": 1, "seed": 1, "backbone": "tiny",
    "preset": "repaired", "protocol": "fewshot-val", "targets": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def setup(tmp_path_factory) -> Setup:
    folder = tmp_path_factory.mktemp("matrix")
    return Setup(data=str(folder / "data"), output=str(folder / "output"), cache=str(folder / "cache"))


@pytest.fixture
def cells(setup, tmp_path) -> list[Cell]:
    """Three seeds of zero-shot CLIP."""
    return build_cells(replace(setup, output=str(tmp_path)), [Plan("ZeroshotCLIP", "shapes", 1)], [1, 2, 3])


def finish(cell: Cell, accuracy: float, **more) -> None:
    body = {**RECORD, "seed": cell.seed, "config_hash": cell.folder.split("/")[-2], "accuracy": accuracy, **more}
    Path(cell.folder).mkdir(parents=True, exist_ok=True)
    (Path(cell.folder) / "result.json").write_text(json.dumps(seal(body)))


def test_a_wrong_key_is_told_before_data_are_made(tmp_path):
    setup = Setup(output=str(tmp_path), cache=str(tmp_path / "cache"))
    plan = Plan("ZeroshotCLIP", "shapes", 1, Variant(options=("OPTIM.MAX_EPCH", "1")))
    with pytest.raises(ValueError, match="unknown key OPTIM.MAX_EPCH. Did you mean OPTIM.MAX_EPOCH?"):
        build_config(setup, plan)
    assert not list(tmp_path.iterdir())


def test_flags_and_options_may_stand_anywhere():
    typed = "noise shapes OPTIM.LR 0.1 16 --methods SimNL APE TRAINER.SIMNL.GRID.BETA [0,1,2] --seeds 4"
    flags, options = benchmark.split_options(typed.split())
    assert options == ["OPTIM.LR", "0.1", "TRAINER.SIMNL.GRID.BETA", "[0,1,2]"]
    args = benchmark.build_parser().parse_args(flags)
    benchmark.sort_words(args)
    assert (args.methods, args.datasets, args.shots, args.seeds) == (["SimNL", "APE"], ["shapes"], [16], [4])
    with pytest.raises(ValueError, match="OPTIM.LR"):
        benchmark.split_options(["fewshot", "OPTIM.LR"])


def test_keys_without_a_dot_are_keys_too():
    typed = "fewshot --methods APE GDA PROTOCOL no-val --shots 1 PRESET official MATMUL high SWEEP [['OPTIM.LR',[1]]]"
    flags, options = benchmark.split_options(typed.split())
    assert options == ["PROTOCOL", "no-val", "PRESET", "official", "MATMUL", "high", "SWEEP", "[['OPTIM.LR',[1]]]"]
    args = benchmark.build_parser().parse_args(flags)
    assert (args.methods, args.shots) == (["APE", "GDA"], [1])
    for wrong in ("SEEDS 1", "SEED 1", "OUTPUT x", "USE_CUDA False", "DATASET.NUM_SHOTS 4"):
        with pytest.raises(ValueError, match=f"'{wrong}' cannot be given as KEY VALUE"):
            benchmark.split_options(["fewshot", *wrong.split()])
        with pytest.raises(ValueError, match=f"'{wrong}' cannot be given as KEY VALUE"):
            run.parse(["shapes", "16", *wrong.split()], "SimNL")
    assert run.parse(["shapes", "16", *options], "SimNL") == ("shapes", 16, options)


@pytest.mark.parametrize("rule", ["exact", "foreign"])
def test_wrong_labels_are_planned_by_every_rule(setup, rule):
    """The data are looked for before there are a seed and a number of shots, without which these rules draw nothing."""
    options = ("DATASET.LABEL_NOISE", "0.5", "DATASET.NOISE_RULE", rule)
    (cell,) = cells_of(Request("fewshot", setup, ("TaskRes",), ("shapes",), (1,), (1,), options))
    assert (rule, 0.5) == (cell.cfg.DATASET.NOISE_RULE, cell.cfg.DATASET.LABEL_NOISE)


@pytest.mark.parametrize("key", ["PRESET", "PROTOCOL"])
def test_a_key_wins_over_its_variable(setup, key):
    given = {"PRESET": "official", "PROTOCOL": "no-val"}[key]
    request = Request("fewshot", setup, ("TaskRes",), ("shapes",), (1,), (1,), (key, given))
    (cell,) = cells_of(request)
    assert cell.cfg[key] == given


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("fewshot --shots none", "is not a whole number from 1"),
        ("fewshot --shots 0", "is not a whole number from 1"),
        ("fewshot --what", "--what"),
        ("nothing", "invalid choice"),
        ("noise shape 16", "Did you mean shapes"),
    ],
)
def test_wrong_flags(flags, words):
    with pytest.raises(ValueError, match=words):
        benchmark.sort_words(benchmark.build_parser().parse_args(flags.split()))


def test_flags_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("PROTOCOL", "no-val")
    monkeypatch.setenv("BACKBONE", "rn50")
    monkeypatch.setenv("SEEDS", "7,8")
    monkeypatch.setenv("OUTPUT", "")
    args = argparse.Namespace(
        study="fewshot",
        backbone="tiny",
        protocol="",
        preset="",
        methods=["GDA"],
        datasets=[],
        shots=[2],
        seeds=(),
        targets=["mine"],
    )
    request = benchmark.request_from(args, ["OPTIM.LR", "1"], cuda=False)
    assert (request.setup.backbone, request.setup.protocol, request.seeds) == ("tiny", "no-val", (7, 8))
    assert (request.setup.output, request.targets) == ("output", ("mine",))
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_workers():
    assert Workers.from_flags("local", 1, 0, (), "cpu").in_process
    slurm = Workers.from_flags("slurm", 1, 2, ["partition=gpu"], "auto")
    assert not slurm.in_process
    for flags, words in {
        ("local", 2, 2, ()): "one of them",
        ("local", 1, 0, ("a=b",)): "executor slurm",
        ("slurm", 1, 0, ("a",)): "KEY=VALUE",
    }.items():
        with pytest.raises(ValueError, match=words):
            Workers.from_flags(*flags, "auto")


def test_cells_that_cannot_be_run_say_why(setup):
    plans = [Plan("ZeroshotCLIP", "dtd", 1), Plan("TaskRes", "shapes", 1), Plan("CLIPLoRA", "shapes", 1)]
    missing, fine, needs_vit = build_cells(replace(setup, backbone="rn50"), plans, [1])
    assert "dtd" in missing.error.lower() or "DescribableTextures" in missing.error
    assert "cannot run" in describe_cell(missing)
    assert fine.cfg.OUTPUT_DIR.endswith("seed1")
    assert "to run" in describe_cell(fine)
    assert "ViT" in needs_vit.refusal
    assert executor.attempt(needs_vit)["state"] == "n/a"
    assert executor.attempt(missing) == {"state": "failed", "error": missing.error, "log": ""}
    failed, refused = problems([missing, fine, needs_vit], {0: executor.attempt(missing)})
    assert len(failed) == 2  # the missing data, and the two that no process came to
    assert failed[1] == f"{fine}, {needs_vit}: not run: its process ended early"
    assert refused == [f"CLIPLoRA on shapes: {needs_vit.refusal}"]


def test_default_methods_use_cached_features_alone():
    methods = default_methods()
    assert {"SimNL", "ZeroshotCLIP", "TipAdapterF", "GDA"} <= set(methods)
    assert not {"CoOp", "CoCoOp", "CLIPLoRA"} & set(methods)


def test_every_method_is_one_word(setup):
    request = Request("fewshot", setup, methods=("all",), datasets=("shapes",), shots=(1,), seeds=(1,))
    assert [cell.plan.method for cell in cells_of(request)] == known("trainers")


def test_a_sensitivity_run_names_every_hyper_parameter(setup):
    request = Request("sensitivity", setup, datasets=("shapes",), seeds=(1,))
    cells = cells_of(request)
    assert len({c.folder for c in cells}) == len(cells)
    standard = {"ALPHA": 3.0, "BETA": 3.0, "LAM": 0.75, "TAU": 1.0}
    for one in cells:
        options = dict(one.cfg.OPTIONS)
        assert options.pop("SEARCH.ENABLED") is False
        values = {key.rsplit(".", 1)[1]: value for key, value in options.items()}
        assert sum(values[name] != standard[name] for name in standard) <= 1
    assert sum(dict(c.cfg.OPTIONS)["TRAINER.SIMNL.ALPHA"] == 3.0 for c in cells) > 10


@pytest.mark.parametrize(
    ("study", "methods", "datasets", "reason"),
    [
        ("ablation", ("GDA", "SimNL"), ("shapes",), "but GDA has other parts"),
        ("sensitivity", ("ZeroshotCLIP", "SimNL"), ("shapes",), "ZeroshotCLIP has none of the hyper-parameters"),
        ("sensitivity", ("SimNL",), ("dtd", "shapes"), "DescribableTextures|dtd"),
        ("dg", ("SimNL",), ("caltech101", "shapes"), "caltech101 has no shifted variants"),
    ],
)
def test_what_a_study_cannot_do_stops_nothing_else(setup, study, methods, datasets, reason):
    cells = cells_of(Request(study, setup, methods=methods, datasets=datasets, shots=(1, 1), seeds=(1, 2, 2)))
    failed = [cell for cell in cells if cell.error]
    assert [cell.seed for cell in failed] == [1, 2]
    assert {(cell.plan.method, cell.plan.dataset) for cell in failed} == {(methods[0], datasets[0])}
    assert re.search(reason, failed[0].error)
    fine = [cell for cell in cells if cell.cfg is not None]
    assert len(fine) + len(failed) == len(cells)
    assert {(cell.plan.method, cell.plan.dataset) for cell in fine} == {(methods[-1], datasets[-1])}
    assert len({cell.folder for cell in fine}) == len(fine) > 1


def test_data_sets_of_a_study_unless_named(setup, monkeypatch):
    with open(CONFIGS.parent / "simnl" / "results" / "published" / "accuracy.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "SimNL paper, Table A1"]
    order = dict.fromkeys(row["dataset"] for row in rows if row["dataset"] != "average")
    assert list(order) == list(PAPER_DATASETS)
    there = {"dtd", "caltech101"}
    monkeypatch.setattr("simnl.studies.choices._has_data", lambda setup, dataset: dataset in there)
    assert default_datasets(setup) == ["caltech101", "dtd"]
    assert default_datasets(setup, "dg") == default_datasets(setup, "cross") == ["shapes"]
    assert other_datasets(setup, "dtd") == ["caltech101"]
    there.add("imagenet")
    assert default_datasets(setup, "dg") == ["imagenet"]


def test_targets_of_other_classes(setup, tmp_path, monkeypatch):
    def cells(**given):
        return cells_of(Request("cross", setup, datasets=("shapes",), seeds=(1,), **given))

    (tmp_path / "mine").mkdir()
    folder = str(tmp_path / "mine")
    (cell,) = cells(methods=("CoOp",), targets=("dtd", folder))
    assert ["cross:dtd", f"cross:{folder}"] == cell.cfg.TEST.TARGETS
    monkeypatch.chdir(tmp_path)
    (cell,) = cells(methods=("CoOp",), targets=("mine",))  # below the current folder
    assert [f"cross:{folder}"] == cell.cfg.TEST.TARGETS
    (refused,) = cells(methods=("SimNL",), targets=("dtd",))
    assert "cannot classify new ones" in refused.refusal
    (wrong,) = cells(methods=("CoOp",), targets=("nowhere",))
    assert "'nowhere' is neither a data set nor a folder of images" in wrong.error
    (none,) = cells(methods=("CoOp",))  # there is no other data
    assert "Name data sets or folders of images: --targets" in none.error
    with pytest.raises(ValueError, match="--targets is for the study cross, but the study is dg"):
        cells_of(Request("dg", setup, targets=("dtd",)))


def test_options_of_an_ablation_reach_the_config(setup):
    cells = cells_of(Request("ablation", setup, datasets=("shapes",), seeds=(1,), options=("OPTIM.MAX_EPOCH", "3")))
    by_name = {c.plan.variant.name: c.cfg for c in cells}
    assert all(cfg.OPTIM.MAX_EPOCH == 3 for cfg in by_name.values())
    assert by_name["no adapter learns"].TRAINER.SIMNL.ADAPTERS == ()
    assert "negative-text" not in by_name["negative-text adapter frozen"].TRAINER.SIMNL.ADAPTERS
    assert by_name["template prompts alone"].PROMPTS.CUPL == ""
    assert by_name["cross-entropy alone"].TRAINER.SIMNL.CONSISTENCY_WEIGHT == 0


def test_a_cell_that_another_process_has_is_waited_for(cells, monkeypatch):
    monkeypatch.setattr(executor, "BUSY_PAUSE", 0.05)
    monkeypatch.setattr(executor, "execute", lambda cfg: pytest.fail("run twice"))
    mine = cells[0]
    lock = FileLock(Path(mine.folder) / LOCK, thread_local=False)
    Path(mine.folder).mkdir(parents=True)
    lock.acquire()

    def other_process():
        finish(mine, 50.0)
        lock.release()

    threading.Timer(0.3, other_process).start()
    events = []
    executor.work([mine], lambda number, event: events.append(event["state"]))
    assert events[0] == "running"
    assert "busy" in events
    assert events[-1] == "skipped"


def test_a_failure_is_reported_and_the_rest_goes_on(cells, monkeypatch):
    def execute(cell):
        if cell.seed == 2:
            raise ZeroDivisionError("by zero")
        return {"accuracy": 10.0 * cell.seed}

    monkeypatch.setattr(executor, "execute", execute)
    outcomes = {}
    executor.work(cells, lambda n, e: outcomes.__setitem__(n, e), order=[2, 1, 0], is_settled=lambda n: n == 0)
    assert sorted(outcomes) == [1, 2]
    assert outcomes[1]["error"] == "ZeroDivisionError: by zero"
    assert outcomes[2]["accuracy"] == 30.0


def test_events_of_several_processes(tmp_path):
    first, second, reader = EventLog(tmp_path, 0), EventLog(tmp_path, 1), EventLog(tmp_path)
    first.write(3, {"state": "running"})
    second.write(5, {"state": "failed", "error": "it broke"})
    started, failed = {"state": "running"}, {"state": "failed", "error": "it broke"}
    assert list(reader.read()) == [(3, {"process": 0, **started}), (5, {"process": 1, **failed})]
    with open(tmp_path / "0.jsonl", "a") as file:
        file.write('{"cell": 3, "st')  # killed while writing, or not written out yet
    assert list(reader.read()) == []
    assert not first.is_settled(3)
    assert first.is_settled(5)
    EventLog(tmp_path, 0).write(3, {"state": "skipped"})  # started again, after the kill
    with open(tmp_path / "1.jsonl", "ab") as file:
        file.write(b'{"cell": 4, "state": "fai\xff{"cell": 4}\n')  # two writers, or a bad disk
    assert list(reader.read()) == [(3, {"process": 0, "state": "skipped"})]
    assert EventLog(tmp_path).is_settled(3)


def test_a_reason_of_many_cells_is_said_once():
    cells = [Cell(Plan("A", "shapes", 1), seed) for seed in range(5)]
    outcomes = {number: {"state": "failed", "error": "no such data"} for number in range(5)}
    outcomes[3] = {"state": "failed", "error": "no memory"}
    expected = [
        "A shapes 1 shot seed 0, A shapes 1 shot seed 1, A shapes 1 shot seed 2, 1 more: no such data",
        "A shapes 1 shot seed 3: no memory",
    ]
    assert problems(cells, outcomes) == (expected, [])


def test_cells_of_a_process_that_died_name_its_log(tmp_path):
    cells = [Cell(Plan("A", "shapes", 1), seed) for seed in (1, 2, 3)]
    view = Progress(cells, Console(file=io.StringIO()))
    view.report(0, {"state": "done", "seconds": 1.0, "accuracy": 50.0})
    jobs = [SimpleNamespace(paths=SimpleNamespace(stderr=tmp_path / f"{n}.err")) for n in (0, 1)]
    jobs[1].paths.stderr.write_text("Traceback\nOSError: No space left on device\n\n")
    report_lost(view, jobs, {0: 1, 1: 1})
    lines, _ = problems(cells, view.outcomes)
    assert len(lines) == 2
    assert "ended early. OSError: No space left on device" in lines[0]
    assert str(jobs[1].paths.stderr) in lines[0]
    assert str(jobs[0].paths.stderr) in lines[1]  # no process came to it
    assert "left no message" in lines[1]


def test_every_process_tries_every_cell_from_another_start(tmp_path, monkeypatch):
    orders = []
    monkeypatch.setattr("simnl.studies.definitions.cells_of", lambda request: [None] * 7)
    monkeypatch.setattr("simnl.studies.executor.work", lambda cells, report, order, is_settled: orders.append(order))
    body = json.dumps(Request("fewshot", Setup()).to_json())
    for number in range(3):
        Worker(body, 3, str(tmp_path), threads=1)(number)
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert [order[0] for order in orders] == [0, 1, 2]


def test_time_left_follows_the_methods(tmp_path):
    cells = [Cell(Plan(m, "shapes", 1), seed) for m in ("A", "B") for seed in (1, 2)]
    view = Progress(cells, Console(file=open("/dev/null", "w")), workers=2)  # noqa: SIM115
    assert view.seconds_left() is None
    view.report(0, {"state": "running"})
    view.report(0, {"state": "done", "seconds": 4.0, "accuracy": 50.0})
    view.report(0, {"state": "skipped"})  # another process looked at it later
    assert view.seconds_left() == pytest.approx(3 * 4 / 2)
    view.report(2, {"state": "done", "seconds": 1.0, "accuracy": 50.0})
    assert view.seconds_left() == pytest.approx((4 + 1) / 2)
    assert view.counts() == {"done": 2}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_view_fits_the_terminal(width):
    long = Variant("a long name of a variant, without reweighting")
    cells = [Cell(Plan("TipAdapterF", f"imagefolder-{'long_' * 9}", 16, long), seed) for seed in range(1, 121)]
    screen = io.StringIO()
    console = Console(file=screen, soft_wrap=True, force_terminal=True, width=width, height=30)
    with Progress(cells, console, 4) as view:
        for number in range(20):
            view.report(number, {"state": "running"})
        for number in range(5):
            view.report(number, {"state": "done", "seconds": 70.0, "accuracy": 60.0})
        lines = view.lines(width)
        console.print(view)
    assert lines[0] == "5 of 120 cells, about 34 min left"
    assert all(len(line) <= width for line in lines)
    assert any(line.endswith(" seed 6") for line in lines)
    assert lines[-1] == "  and 7 more"
    for line in lines:
        assert line in screen.getvalue()


def test_the_closing_table(cells):
    finish(cells[0], 50.0)
    finish(cells[1], 60.0)
    table = overview(cells)
    assert "(2 of 3 seeds)" in table
    assert "55.00 ± 63.53" in table  # t(0.975, 1) = 12.706; s = 7.07; 12.706 * 7.07 / sqrt(2)
    assert "†" not in table


def test_the_closing_table_marks_a_method_that_looks_at_the_test_images(cells):
    finish(cells[0], 50.0, inference="transductive", method=cells[0].plan.method)
    table = overview(cells)
    assert f"{display_name(cells[0].plan.method)}†" in table
    assert "† (transductive): sees all test images at once" in table


def test_options_say_where_the_data_is(tmp_path):
    """A folder of one's own is named by an option of the cells."""
    for name in ("cat", "dog"):
        make_images(tmp_path / "mine" / name, 8)
    options = ("DATASET.FOLDER", str(tmp_path / "mine"), "OPTIM.MAX_EPOCH", "1")
    setup = Setup(output=str(tmp_path / "output"), cache=str(tmp_path / "cache"), backbone="tiny")
    (cell,) = build_cells(setup, [Plan("GDA", "imagefolder", 2, Variant(options=options))], [1])
    assert not cell.error
    assert str(tmp_path / "mine") == cell.cfg.DATASET.FOLDER


def test_data_is_looked_for_once_for_all_variants(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr("simnl.studies.cells.build_dataset", lambda cfg: looked.append(cfg.DATASET.NAME))
    setup = Setup(output=str(tmp_path), cache=str(tmp_path / "another"))
    variants = [Variant(str(n), ("OPTIM.MAX_EPOCH", str(n))) for n in (1, 2, 3)]
    build_cells(setup, [Plan("GDA", "shapes", 1, variant) for variant in variants], [1, 2])
    assert looked == ["Shapes"]


def test_seeds_are_read_once_for_all_tools(monkeypatch):
    assert seeds_from("1, 2 3") == [1, 2, 3]
    with pytest.raises(ValueError, match="SEEDS is 'abc'"):
        seeds_from("abc")
    monkeypatch.setenv("SEEDS", "abc")
    with pytest.raises(ValueError, match="SEEDS is 'abc'"):
        benchmark.request_from(benchmark.build_parser().parse_args(["fewshot"]), [], cuda=False)
