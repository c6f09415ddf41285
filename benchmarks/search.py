"""The search of all hyper-parameters against one full pass per point of the grid."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.direct import DirectSimNL, count_point
from benchmarks.measure import hot_operators, interleave, memory_of, seconds
from benchmarks.synthetic import OFFICIAL, make_head, make_problem
from simnl.fewshot.search import Grid, axis, count_grid

TITLE = "Search of 200 x 40 x 20 = 160,000 settings"
GRID = Grid({"beta": axis(0, 7, 200), "alpha": axis(0, 7, 40), "lam": axis(0.6, 1, 20)})
SMALL = Grid({"beta": axis(0, 7, 4), "alpha": axis(0, 7, 3), "lam": axis(0.6, 1, 2)})
PART = Grid({**GRID.axes, "beta": GRID.axes["beta"][::20]})  # a twentieth, for the largest size
SIZES = {
    "tiny": [(4, 2, 8, 12)],
    "fast": [(100, 16, 1024, 2500), (1000, 16, 1024, 1000), (1000, 16, 1024, 50000)],
    "full": [(100, 16, 1024, 2500), (1000, 16, 1024, 5000), (1000, 16, 1024, 50000)],
}
POINTS = [{"beta": 1.05, "alpha": 1.05, "lam": 0.7}, {"beta": 5.25, "alpha": 3.5, "lam": 0.9}]
DIRECT_ROWS = {"tiny": 12, "fast": 2500, "full": 5000}  # images of the direct pass; a larger set's time is scaled
WHOLE_ROWS = 5000  # of a larger set, a part of the betas is searched and the time scaled


def search_of(classes: int, shots: int, width: int, val: int, mode: str = "full", axes: dict | None = None) -> Callable:
    """The search on a head that has moved, as a function. axes: another grid than the whole one."""
    problem = make_problem(classes, shots, width, val)
    head = make_head(problem, 0.1, **OFFICIAL)
    return lambda: count_grid(head, problem.val, problem.val_labels, Grid(axes or GRID.axes), mode=mode)


def direct_of(classes: int, shots: int, width: int, val: int) -> list[Callable]:
    """One full pass at each of a few points, as functions."""
    problem = make_problem(classes, shots, width, val)
    direct = DirectSimNL(make_head(problem, 0.1, **OFFICIAL))
    return [lambda p=p: count_point(direct, problem.val, problem.val_labels, p) for p in POINTS]


def run(size: str) -> dict:
    """Rows for the table, and a profile of the smallest size."""
    rows = []
    grid = SMALL if size == "tiny" else GRID
    for shape in SIZES[size]:
        names = dict(zip(("classes", "shots", "width", "val"), shape, strict=True))
        whole = shape[3] <= WHOLE_ROWS
        searched = grid if whole else PART
        per_point, note = direct_point(names, size)
        memory = memory_of(search_of, **names, axes=dict(searched.axes))
        if not whole:
            note += f"; here: {searched.size:,} settings measured and multiplied"
        row = {
            "what": f"C = {shape[0]}, {shape[3]:,} images",
            "seconds": {"direct": per_point * grid.size, "fast": memory["seconds"] * grid.size / searched.size},
            "memory_beyond_inputs": {"fast": memory["peak"] - memory["inputs"]},
            "note": note,
        }
        rows.append(row)
        if whole:
            coarse = seconds(search_of(**names, axes=dict(grid.axes), mode="coarse-to-fine"))
            what = row["what"] + ", coarse-to-fine (approximation) against the full search"
            rows.append({"what": what, "seconds": {"direct": row["seconds"]["fast"], "fast": coarse}})
    return {"rows": rows, "profile": hot_operators(search_of(*SIZES[size][0], axes=dict(SMALL.axes)))}


def direct_point(names: dict, size: str) -> tuple[float, str]:
    """Seconds of the direct pass at one point over all images, and how they were measured."""
    used = min(names["val"], DIRECT_ROWS[size])
    points = direct_of(**{**names, "val": used})
    times = interleave({str(i): point for i, point in enumerate(points)}, 3, 2.0)
    per_point = sum(map(times.median, times)) / len(times) * names["val"] / used
    measured = "" if used == names["val"] else f", from {used:,} of the images"
    return per_point, f"direct: {per_point:.3g} s per point (mean of {len(points)}{measured}) times their number"
