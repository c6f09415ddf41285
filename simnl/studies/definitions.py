"""The studies that `tools/benchmark.py` knows: the methods, data sets, shots and variants of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from dassl.data.datasets import DATASET_REGISTRY
from simnl.config_names import check_name, known
from simnl.declarations import method as declared_of
from simnl.fewshot.capabilities import CHOICES, CROSS
from simnl.locations import CONFIGS
from simnl.plugins import load_datasets
from simnl.runs.config import assemble
from simnl.runs.record import is_reweighting
from simnl.studies.cells import (
    CELL_ERRORS,
    Cell,
    Plan,
    Setup,
    Variant,
    build_cells,
    build_config,
    cells_that_fail,
)
from simnl.studies.choices import default_datasets, default_methods, other_datasets, targets_of

ALL = "all"  # stands for all methods
SHOTS = (1, 2, 4, 8, 16)
NOISE = (0.0, 0.1, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)  # SimNL's share, and the eighths of NLPrompt and JoAPR
PAPER_VALUES = {"ALPHA": (0.0, 0.5, 1.0, 1.2, 1.5), "BETA": (1.0, 1.5, 2.0, 2.5, 3.0, 3.5)}  # Table A3, ImageNet
FACTORS = {"ALPHA": (0.0, 0.5, 0.75, 1.0, 1.5, 2.0), "BETA": (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)}  # of the standard value
VALUES = {"LAM": (0.25, 0.5, 0.65, 0.75, 0.85, 1.0), "TAU": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)}


@dataclass(frozen=True)
class Request:
    """A study as the user asks for it. Empty tuples stand for the defaults of the study."""

    study: str
    setup: Setup
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()  # of the study cross: other data sets, or folders of images

    def to_json(self) -> dict:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict) -> Request:
        """The inverse of `to_json`, also after a round trip through json."""
        lists = {key: tuple(value) for key, value in body.items() if isinstance(value, list | tuple)}
        return cls(**{**body, **lists, "setup": Setup(**body["setup"])})


@dataclass(frozen=True)
class Study:
    """How the variants of a study are made, and its defaults.

    Attributes:
        variants: (setup, plan without a variant) -> variants.
        methods, shots: the defaults. Without methods, all that work on cached features; `ALL` for all methods.
        task: the task that the methods must be able to do, see `simnl.runs.capabilities`.
        layout: the layout of tools/table.py that shows the result; empty without one.
        figure: True where tools/plot.py has a kind of figure with the study's name.
    """

    variants: Callable[[Setup, Plan], Iterator[Variant]]
    methods: tuple[str, ...] = ()
    shots: tuple[int, ...] = (16,)
    task: str = "few-shot"
    layout: str = ""
    figure: bool = False


def plain(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """One variant: the methods without changes."""
    yield Variant()


def shifted(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """Tested on the variants of the data set as well."""
    yield Variant(targets=tuple(targets_of(plan.dataset, "variants")))


def base_to_new(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """Trained on the first half of the classes, tested on it and on the second half."""
    yield Variant(options=("DATASET.SUBSAMPLE_CLASSES", "base"), targets=("new",))


def other_data_sets(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """Trained on a data set, tested on it and on others, whose classes are new."""
    names = plan.variant.targets or other_datasets(setup, plan.dataset)
    if not names:
        raise ValueError(
            f"The folder {setup.data} (DATA) holds none of the paper's eleven data sets besides {plan.dataset}, so "
            "there is nothing to test on. Name data sets or folders of images: --targets NAME ..."
        )
    yield Variant(targets=tuple(targets_of(plan.dataset, [f"{CROSS}{name}" for name in names], setup.data)))


def label_noise(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """Shares of wrong training labels, with and without instance weights where a method has them."""
    node = f"TRAINER.{plan.method.upper()}."
    switches = [key for key, value in defaults_of(plan.method).items() if is_reweighting(key) and value is True]
    without = tuple(word for key in switches for word in (node + key, "False"))
    for share in NOISE:
        options = ("DATASET.LABEL_NOISE", str(share))
        yield Variant(f"{100 * share:g}% noise", options)
        if without:
            yield Variant(f"{100 * share:g}% noise, no reweighting", options + without)


def protocols(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """Each protocol that the data set and the number of shots allow: the same draws, other images to choose on."""
    load_datasets()
    cfg = assemble([CONFIGS / "datasets" / f"{plan.dataset}.yaml"])
    has_val = DATASET_REGISTRY.get(cfg.DATASET.NAME).has_val
    for name in CHOICES["PROTOCOL"]:
        if name == "full-val" and not has_val:
            continue
        yield Variant(name, ("PROTOCOL", name))


def ablation(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """SimNL with one adapter frozen at zero at a time (its branch stays in the logits), and without its other parts."""
    node = f"TRAINER.{plan.method.upper()}."
    adapters = defaults_of(plan.method).get("ADAPTERS")
    if adapters is None:
        raise ValueError(f"The ablation is for SimNL, but {plan.method} has other parts. Use --methods SimNL.")
    yield Variant("full")
    for off in adapters:
        kept = [name for name in adapters if name != off]
        yield Variant(f"{off} adapter frozen", (f"{node}ADAPTERS", str(kept)))
    yield Variant("no adapter learns", (f"{node}ADAPTERS", "[]"))
    yield Variant("no reweighting", (f"{node}REWEIGHT_POSITIVE", "False", f"{node}REWEIGHT_NEGATIVE", "False"))
    yield Variant("no re-ranking loss", (f"{node}RERANK_WEIGHT", "0.0"))
    yield Variant("no consistency loss", (f"{node}CONSISTENCY_WEIGHT", "0.0"))
    yield Variant("cross-entropy alone", (f"{node}RERANK_WEIGHT", "0.0", f"{node}CONSISTENCY_WEIGHT", "0.0"))
    yield Variant("with the negative loss, Eq. 18", (f"{node}NEGATIVE_LOSS", "eq18"))
    yield Variant("template prompts alone", ("PROMPTS.CUPL", ""))
    yield Variant("CuPL prompts alone", (f"{node}CUPL_WEIGHT", "1.0"))


def sensitivity(setup: Setup, plan: Plan) -> Iterator[Variant]:
    """One hyper-parameter at a time around the standard setting, the search off.

    Every run names all of them, so that a run at the standard value belongs to each parameter's curve.
    """
    cfg = build_config(setup, plan)
    node = cfg.TRAINER[plan.method.upper()]
    standard = {name: node[name] for name in (*FACTORS, *VALUES) if name in node}
    if not standard:
        raise ValueError(f"{plan.method} has none of the hyper-parameters {', '.join((*FACTORS, *VALUES))}.")
    for name in standard:
        for value in _values(name, standard[name], plan.dataset):
            settings = {f"TRAINER.{plan.method.upper()}.{n}": v for n, v in {**standard, name: value}.items()}
            words = [word for key, number in settings.items() for word in (key, str(number))]
            yield Variant(f"{name.lower()} {value:g}", (*words, "SEARCH.ENABLED", "False"))


def _values(name: str, standard: float, dataset: str) -> list[float]:
    if dataset == "imagenet" and name in PAPER_VALUES:
        values = PAPER_VALUES[name]
    elif name in FACTORS:
        values = tuple(round(standard * factor, 6) for factor in FACTORS[name])
    else:
        values = VALUES[name]
    return sorted({*values, standard})


def defaults_of(method: str) -> dict:
    """A method's default config.

    Raises:
        KeyError: no such method.
    """
    return dict(declared_of(method).defaults)


STUDIES = {
    "fewshot": Study(plain, shots=SHOTS, layout="fewshot", figure=True),
    "dg": Study(shifted, task="dg", layout="dg"),
    "base2new": Study(base_to_new, task="base2new", layout="base2new"),
    "cross": Study(other_data_sets, task="cross", layout="cross"),
    "noise": Study(label_noise, methods=("SimNL",), layout="noise", figure=True),
    "sensitivity": Study(sensitivity, methods=("SimNL",), layout="sensitivity", figure=True),
    "ablation": Study(ablation, methods=("SimNL",), layout="ablation"),
    "audit": Study(protocols, layout="audit", figure=True),
}


def cells_of(request: Request) -> list[Cell]:
    """All cells of a study; a method or data set that the study cannot do gives cells with the reason.

    Raises:
        ValueError: unknown names, or targets where the study has none to name.
    """
    if request.targets and request.study != "cross":
        raise ValueError(f"--targets is for the study cross, but the study is {request.study}. Leave it out.")
    study, setup = STUDIES[request.study], request.setup
    wanted = request.methods or study.methods or default_methods()
    methods = known("trainers") if ALL in wanted else [check_name("trainers", name) for name in wanted]
    names = request.datasets or default_datasets(setup, study.task)
    datasets = [check_name("datasets", name) for name in names]
    shots_of_each = dict.fromkeys(request.shots or study.shots)
    each = itertools.product(dict.fromkeys(datasets), shots_of_each, dict.fromkeys(methods))
    plans = [Plan(method, dataset, shots) for dataset, shots, method in each]
    return [cell for plan in plans for cell in _cells_of(request, study, plan)]


def _cells_of(request: Request, study: Study, plan: Plan) -> list[Cell]:
    """The cells of one method, data set and number of shots."""
    setup, seeds = request.setup, tuple(dict.fromkeys(request.seeds))
    given = Variant(options=request.options, targets=request.targets)
    try:
        variants = list(study.variants(setup, replace(plan, variant=given)))
    except CELL_ERRORS as error:
        return cells_that_fail(plan, seeds, error)
    plans = [replace(plan, variant=replace(v, options=(*request.options, *v.options))) for v in variants]
    return build_cells(setup, plans, seeds, study.task)
