"""Figures: what is drawn, that nothing unlike is mixed, that everything can be read."""

from __future__ import annotations

import itertools
import logging
import sys

import numpy as np
import plot
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from helpers.table_records import HALF, record, three, write
from simnl.config_names import known
from simnl.results.plots import drawing, style
from simnl.results.plots.drawing import save, without_title
from simnl.results.plots.names import CURVES, OF_RECORDS, OF_RUNS
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.plots.of_runs import RUN_KINDS
from simnl.results.plots.runs import centred, confusion_matrix, project
from simnl.results.plots.series import Wanted

SHOTS = (1, 4, 16)
BASE = {"dtd": 40.0, "eurosat": 50.0, "imagenet": 60.0}
GAIN = {"ZeroshotCLIP": 0.0, "TipAdapterF": 2.0, "SimNL": 3.0}


def matrix(gaps=()) -> list[dict]:
    """Three data sets x three methods x three numbers of shots x three seeds, less some cells."""
    records = []
    for (dataset, base), (method, gain), shots in itertools.product(BASE.items(), GAIN.items(), SHOTS):
        if (dataset, method, shots) not in gaps:
            records += three(base + gain * shots**0.5, dataset=dataset, method=method, shots=shots)
    return records


def panels_of(figure) -> dict:
    return {ax.get_title(): ax for ax in figure.axes}


def line(ax, method: str):
    """The curve with a method's marker: its points."""
    found = [one for one in ax.lines if one.get_marker() == style.method_style(method)["marker"]]
    assert len(found) == 1
    return np.column_stack(found[0].get_data())


def only(figures: dict):
    assert len(figures) == 1
    return next(iter(figures.values()))


def test_few_shot_curves_show_the_means_and_intervals():
    figure = only(RECORD_KINDS["fewshot"](matrix(gaps=[("dtd", "TipAdapterF", 4)])))
    panels = panels_of(figure)
    assert list(panels) == ["average of 3", "DTD", "EuroSAT", "ImageNet"]
    expected = [(1, 43.0), (3, 46.0), (5, 52.0)]  # log2(shots) + 1
    np.testing.assert_allclose(line(panels["DTD"], "SimNL"), expected)
    np.testing.assert_allclose(line(panels["DTD"], "ZeroshotCLIP"), [(0, 40.0)])
    np.testing.assert_allclose(line(panels["DTD"], "TipAdapterF"), [(1, 42.0), (5, 48.0)])
    np.testing.assert_allclose(line(panels["average of 3"], "SimNL"), [(1, 53.0), (3, 56.0), (5, 62.0)])
    np.testing.assert_allclose(line(panels["average of 3"], "TipAdapterF"), [(1, 52.0), (5, 58.0)])  # 4: incomplete
    bands = [c for c in panels["DTD"].collections if len(c.get_paths()[0].vertices) > 6]
    heights = [np.ptp(c.get_paths()[0].vertices[:, 1]) for c in bands]
    assert max(heights) == pytest.approx(52.0 - 43.0 + 2 * HALF)
    assert [t.get_text() for t in panels["DTD"].get_xticklabels()] == ["0", "1", "4", "16"]


def test_two_seeds_make_no_band():
    figure = only(RECORD_KINDS["fewshot"]([r for r in matrix() if r["seed"] < 3]))
    assert "too few for bands" in figure.get_suptitle()
    low, high = panels_of(figure)["DTD"].get_ylim()
    assert (low, high) == (pytest.approx(38.8, abs=1), pytest.approx(52.8, abs=1))


@pytest.mark.parametrize(
    "changes",
    [{"preset": "official"}, {"protocol": "oracle-test"}, {"backbone": "ViT-B/16"}, {"weights_fingerprint": "0" * 64},
     {"subsample_classes": "base"}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_settings_never_share_a_figure(changes):
    figures = RECORD_KINDS["fewshot"](matrix() + [{**r, **changes, "accuracy": 1.0} for r in matrix()])
    assert len(figures) == 2
    averages = [line(panels_of(figure)["average of 3"], "SimNL")[0, 1] for figure in figures.values()]
    assert sorted(averages) == [pytest.approx(1.0), pytest.approx(53.0)]


def test_noise_options_and_own_splits_stay_out_of_the_standard_curves(caplog):
    other = three(1.0, dataset="dtd", label_noise=0.3) + three(2.0, dataset="dtd", options={"OPTIM.LR": 1.0})
    other += three(3.0, dataset="dtd", split_origin="generated")
    panels = panels_of(only(RECORD_KINDS["fewshot"](matrix() + other)))
    assert line(panels["DTD"], "SimNL")[-1, 1] == pytest.approx(52.0)
    assert line(panels["DTD (own split)"], "SimNL").tolist() == [[5, pytest.approx(3.0)]]
    assert not caplog.records


def test_no_average_mixes_data_of_ones_own_with_standard_data():
    own = [{**r, "dataset": "imagefolder-mine", "split_origin": "generated"} for r in matrix() if r["dataset"] == "dtd"]
    panels = panels_of(only(RECORD_KINDS["fewshot"](matrix() + [{**r, "accuracy": 1.0} for r in own])))
    assert list(panels) == ["average of 3", "DTD", "EuroSAT", "imagefolder-mine (own split)", "ImageNet"]
    np.testing.assert_allclose(line(panels["average of 3"], "SimNL"), [(1, 53.0), (3, 56.0), (5, 62.0)])
    alone = [r for r in matrix() if r["dataset"] == "dtd"]
    assert list(panels_of(only(RECORD_KINDS["fewshot"](alone + own)))) == ["DTD", "imagefolder-mine (own split)"]
    costs = only(RECORD_KINDS["cost"](matrix() + [{**r, "accuracy": 1.0} for r in own]))
    assert costs.get_suptitle().startswith("average of 3 data sets")


def many() -> list[dict]:
    methods = ["SimNL", "ZeroshotCLIP", *style.METHODS[:12]]
    return [
        one
        for number, method in enumerate(methods)
        for shots in SHOTS
        for one in three(30.0 + number + shots**0.5, dataset="dtd", method=method, shots=shots)
    ]


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_no_more_curves_than_can_be_told_apart_unless_asked(caplog):
    with caplog.at_level(logging.WARNING):
        names = legend_of(only(RECORD_KINDS["fewshot"](many())))
    assert len(names) == CURVES
    assert {"SimNL", "Zero-shot CLIP", "CrossModalLP" if "CrossModalLP" in names else names[1]} <= set(names)
    assert "8 of 14 methods are drawn; left out: " in caplog.text
    assert "Tip-Adapter-F" in caplog.text  # the least accurate of them
    everything = only(RECORD_KINDS["fewshot"](many(), Wanted(curves=0)))
    assert len(legend_of(everything)) == 14


def test_a_method_looks_the_same_whatever_stands_beside_it():
    def look(figure, method):
        drawn = next(one for one in figure.axes[0].lines if one.get_marker() == style.method_style(method)["marker"])
        return (drawn.get_color(), drawn.get_marker(), drawn.get_linestyle())

    pair = [r for r in matrix() if r["dataset"] == "dtd"]
    few, all_of_them = only(RECORD_KINDS["fewshot"](pair)), only(RECORD_KINDS["fewshot"](many(), Wanted(curves=0)))
    for method in ("SimNL", "TipAdapterF"):
        expected = style.method_style(method)
        assert look(few, method) == tuple(expected[key] for key in ("color", "marker", "linestyle"))
        assert look(few, method)[0] in {one.get_color() for one in all_of_them.axes[0].lines}
    assert {*style.METHODS, *style.SPECIAL} == set(known("trainers")) - {"NearestMean"}
    looks = [tuple(map(str, style.method_style(m).values())) for m in known("trainers")]
    assert len(set(looks)) == len(looks)
    assert style.method_style("SomethingElse") == style.method_style("SomethingElse")


def test_published_curves_on_demand_alone():
    mine = [{**r, "accuracy": 50.0} for r in matrix()]
    plain = only(RECORD_KINDS["fewshot"](mine))
    assert not any("published" in name for name in legend_of(plain))
    shown = only(RECORD_KINDS["fewshot"](mine, Wanted(published=True)))
    assert {"SimNL, published", "Tip-Adapter-F, published"} <= {name.rstrip("ᵗᵛᵈᵒ") for name in legend_of(shown)}
    other = [{**r, "weights": "laion2b"} for r in mine]  # published figures are of OpenAI's weights
    figure = only(RECORD_KINDS["fewshot"](other, Wanted(published=True)))
    assert not any("published" in name for name in legend_of(figure))


@pytest.mark.parametrize("kind", ["fewshot", "cost"])
def test_titles_can_be_switched_off(kind):
    figure = only(RECORD_KINDS[kind](matrix()))
    assert figure.get_suptitle()
    without_title(figure)
    assert figure.get_suptitle() == ""
    if kind == "fewshot":
        assert "DTD" in panels_of(figure)  # which panel is which must be told


def test_of_two_configs_the_fuller_one_is_drawn_and_the_other_named(caplog):
    old = [record(dataset="dtd", accuracy=1.0, config_hash="0ld", seed=seed) for seed in (1, 2)]
    with caplog.at_level(logging.WARNING):
        panels = panels_of(only(RECORD_KINDS["fewshot"](old + matrix())))
    assert line(panels["DTD"], "SimNL")[-1, 1] == pytest.approx(52.0)
    assert "0ld" in caplog.text


def test_zero_shot_figures_of_two_configs_are_not_averaged(caplog):
    """At other shots its config differs and its figures do not; with other prompts both do."""
    other = [record(dataset="dtd", method="ZeroshotCLIP", accuracy=70.0, config_hash="0dd", seed=s) for s in (4, 5)]
    panels = panels_of(only(RECORD_KINDS["fewshot"](matrix())))
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        panels = panels_of(only(RECORD_KINDS["fewshot"](other + matrix())))
    np.testing.assert_allclose(line(panels["DTD"], "ZeroshotCLIP"), [(0, 40.0)])
    assert "0dd" in caplog.text
    assert len(caplog.records) == 1


def test_costs_are_of_the_runs_whose_accuracy_is_drawn():
    slow = {"features": 1.0, "train": 900.0, "select": 0.0, "test": 1.0}
    old = [record(dataset="dtd", shots=16, config_hash="0ld", seed=1, seconds=slow)]
    seconds, _ = only(RECORD_KINDS["cost"](old + matrix())).axes
    assert line(seconds, "SimNL")[0, 0] == pytest.approx(5.0)


def test_long_names_are_not_cut_off():
    long = [{**r, "dataset": f"imagefolder-{'very_' * 6}long"} for r in matrix() if r["dataset"] == "dtd"]
    for kind in ("fewshot", "cost"):
        figure = only(RECORD_KINDS[kind](long))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        title = figure._suptitle.get_window_extent(canvas.get_renderer())
        assert title.x0 >= 0
        assert title.x1 <= figure.bbox.x1


def test_a_single_cost_beside_none_has_a_tick():
    free = {"ZeroshotCLIP": {"trainable_parameters": 0}}
    records = [{**r, "trainable_parameters": 1536, **free.get(r["method"], {})} for r in matrix()]
    _, parameters = only(RECORD_KINDS["cost"](records)).axes
    assert [tick.get_text() for tick in parameters.get_xticklabels()] == ["0", "1.536k"]


def sweep() -> list[dict]:
    standard = {"SEARCH.ENABLED": False, "TRAINER.SIMNL.BETA": 2.0}  # BETA of ImageNet in configs/trainers/SimNL.yaml
    records = three(60.0, dataset="imagenet", options=standard)
    for key, values in {"ALPHA": (0.5, 3.0), "TAU": (0.01, 10.0)}.items():
        for value in values:
            options = {"SEARCH.ENABLED": False, f"TRAINER.SIMNL.{key}": value}
            records += three(60.0 - value, dataset="imagenet", options=options)
    both = {"TRAINER.SIMNL.ALPHA": 1.0, "TRAINER.SIMNL.BETA": 3.0}
    return records + three(1.0, dataset="imagenet", options=both)


def test_sensitivity_marks_the_standard_value():
    figures = RECORD_KINDS["sensitivity"](sweep() + matrix())
    alpha, tau = only(figures).axes
    curve, standard = alpha.lines
    np.testing.assert_allclose(np.column_stack(curve.get_data()), [(0.5, 59.5), (1.2, 60.0), (3.0, 57.0)])
    assert set(standard.get_xdata()) == {1.2}  # ALPHA of ImageNet in configs/trainers/SimNL.yaml
    assert alpha.get_xlabel() == "alpha"
    assert tau.get_xscale() == "log"
    assert "0.1" in [tick.get_text() for tick in tau.get_xticklabels()]  # and no formula
    np.testing.assert_allclose(np.column_stack(tau.lines[0].get_data()), [(0.01, 59.99), (1.0, 60.0), (10.0, 50.0)])


def test_a_method_whose_alpha_is_no_number_is_not_in_the_way_of_sensitivity():
    words = three(50.0, method="Mine", dataset="imagenet", options={"TRAINER.MINE.ALPHA": "auto"})
    assert len(only(RECORD_KINDS["sensitivity"](sweep() + matrix() + words)).axes) == 2


def test_noise_curves_with_and_without_reweighting():
    without = {"TRAINER.SIMNL.REWEIGHT_POSITIVE": False, "TRAINER.SIMNL.REWEIGHT_NEGATIVE": False}
    records = matrix()
    for noise in (0.1, 0.5):
        records += three(50 - 10 * noise, dataset="dtd", label_noise=noise)
        records += three(45 - 10 * noise, dataset="dtd", label_noise=noise, options=without)
    figure = only(RECORD_KINDS["noise"](records))
    (ax,) = figure.axes
    assert [one.get_xdata().tolist() for one in ax.lines] == [[0, 10, 50], [10, 50]]  # no method without noisy runs
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [52, 49, 45])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [44, 40])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["SimNL", "SimNL, no reweighting"]


def test_costs_are_means_and_nothing_has_a_place_of_its_own():
    cost = {"ZeroshotCLIP": (0, 0.0), "TipAdapterF": (1000, 2.0), "SimNL": (50000, 8.0)}
    records = []
    for one in matrix():
        parameters, train = cost[one["method"]]
        spread = one["seed"] - 2  # means stay
        seconds = {"train": train + spread * (train > 0), "select": 0.0, "total": 99.0}
        records.append({**one, "trainable_parameters": parameters, "seconds": seconds})
    seconds, parameters = only(RECORD_KINDS["cost"](records)).axes
    points = np.array([[one.get_xdata()[0], one.get_ydata()[0]] for one in seconds.lines if one.get_marker() in "*os"])
    np.testing.assert_allclose(points, [(0.2, 50.0), (2.0, 58.0), (8.0, 62.0)])
    assert [t.get_text() for t in parameters.get_xticklabels()] == ["0", "1k", "3k", "10k", "30k"]


def everything() -> list[dict]:
    names = (
        "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
    )
    methods = [name for name in known("trainers") if name != "ZeroshotCLIP"][:12]
    records = []
    for (n, dataset), method, shots in itertools.product(enumerate(names.split()), methods, (1, 16)):
        records += three(60.0 + n, dataset=dataset, method=method, shots=shots)
        if shots == 16 and n < 3:
            records += three(50.0, dataset=dataset, method=method, label_noise=0.5)
            records += three(60.5 + n, dataset=dataset, method=method, protocol="oracle-test")
    return records + sweep()


@pytest.mark.parametrize("kind", [kind for kind in RECORD_KINDS if kind != "tradeoff"])  # which reads run folders
def test_nothing_overlaps_in_the_largest_figures(kind):
    for figure in RECORD_KINDS[kind](everything()).values():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
        boxes += [figure.legends[0].get_window_extent(renderer), figure._suptitle.get_window_extent(renderer)]
        for one, two in itertools.combinations(boxes, 2):
            assert not one.overlaps(two)
        frame = figure.bbox.padded(1)
        assert all(frame.containsx(box.x0) and frame.containsx(box.x1) for box in boxes)
        assert all(frame.containsy(box.y0) and frame.containsy(box.y1) for box in boxes)
        for ax in figure.axes:
            labels = [t.get_window_extent(renderer) for t in ax.get_xticklabels() if t.get_text()]
            assert not any(one.overlaps(two) for one, two in itertools.combinations(labels, 2))


def test_methods_differ_in_grey():
    looks = [style.method_style(name) for name in known("trainers")]
    assert len({(look["marker"], str(look["linestyle"])) for look in looks}) == len(looks)


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_figure_is_the_same_file(tmp_path, suffix):
    files = [save(only(RECORD_KINDS["cost"](matrix()[:27])), tmp_path / f"{i}.{suffix}") for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0.{suffix}", f"1.{suffix}"]


def test_the_tool_writes_a_file_per_setting(tmp_path, monkeypatch, capsys):
    records = [r for r in matrix() if r["dataset"] == "dtd"]
    write(tmp_path / "runs", records + [{**r, "preset": "official"} for r in records])
    output = tmp_path / "figures" / "curves.svg"
    monkeypatch.setattr(sys, "argv", ["plot", "fewshot", str(tmp_path / "runs"), "--output", str(output)])
    assert plot.main() == 0
    assert sorted(p.name for p in output.parent.iterdir()) == ["curves-2.svg", "curves.svg"]
    assert "preset official" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sensitivity"], "scripts/simnl/sensitivity.sh"),
        (["noise"], "scripts/noise.sh"),
        (["fewshot", "--methods", "SimNl"], "No record has method 'SimNl'. Choose from SimNL, "),
        (["fewshot", "--output", "x.gif"], ".svg"),
        (["confusion"], "Name a run's folder"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_request_says_what_to_do(tmp_path, monkeypatch, capsys, arguments, message):
    write(tmp_path, matrix())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plot", arguments[0], str(tmp_path), *arguments[1:]])
    assert plot.main() == 1
    assert message in capsys.readouterr().err


def test_confusion_matrix_against_counting():
    generator = torch.Generator().manual_seed(0)
    predictions, labels = (torch.randint(0, 5, (200,), generator=generator) for _ in range(2))
    labels[labels == 3] = 2  # a class without images
    matrix = confusion_matrix(predictions, labels, 5)
    for true, predicted in itertools.product(range(5), range(5)):
        of_class = [p for p, t in zip(predictions.tolist(), labels.tolist(), strict=True) if t == true]
        expected = 100 * of_class.count(predicted) / len(of_class) if of_class else 0.0
        assert matrix[true, predicted].item() == pytest.approx(expected)


def test_centred_rows_are_unit_and_hide_a_shared_direction():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 8, generator=generator) + 5 * torch.ones(8)
    result = centred(rows)
    torch.testing.assert_close(result.norm(dim=1), torch.ones(40))
    assert result.mean(0).norm() < 0.2
    assert (rows / rows.norm(dim=1, keepdim=True)).mean(0).norm() > 0.9


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_projections_are_repeatable(projection):
    rows = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    first, second = project(rows, projection), project(rows, projection)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)


def test_labels_of_ticks_never_meet():
    assert drawing.sparse_labels([0, 10, 12.5, 25, 75], drawing.panel_width(1)) == ["0", "10", "", "25", "75"]
    assert drawing.sparse_labels([20], drawing.panel_width(2)) == ["20"]


def test_the_lines_of_a_title_are_of_like_lengths():
    title = "shapes, 4 shots, tiny, preset repaired, protocol fewshot-val, base classes"
    assert drawing.wrapped(title, 5.8).splitlines() == [
        "shapes, 4 shots, tiny, preset repaired,", "protocol fewshot-val, base classes",
    ]  # fmt: skip
    assert drawing.wrapped(f"on {'m' * 40}", 3.5).splitlines() == ["on", "m" * 40]  # no word is cut where it fits


def test_letters_that_the_font_lacks_are_named_once(tmp_path, caplog, recwarn):
    figure = drawing.titled_figure("two cats: \u732b \u732b", 4.0, 2.0)
    save(figure, tmp_path / "cats.png")
    assert caplog.text.count("The font of figures lacks \u732b, so that boxes") == 1
    assert not list(recwarn)


def test_help_texts_name_every_figure():
    assert tuple(RECORD_KINDS) == OF_RECORDS
    assert tuple(RUN_KINDS) == OF_RUNS
