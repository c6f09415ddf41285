"""The tables of docs/performance.md, made from benchmarks/results/*.json and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from simnl.files import write_text_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks/run.py, do not edit: {} -->", "<!-- end -->"
HEADINGS = ("what", "direct", "here", "times faster", "FLOPs", "memory", "remarks")


def load(folder: Path = RESULTS) -> dict[str, dict]:
    """Results by benchmark name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def save(folder: Path, name: str, result: Mapping) -> Path:
    """Write a benchmark's result, whole or not at all."""
    path = folder / f"{name}.json"
    write_text_atomically(path, json.dumps(result, indent=1) + "\n")
    return path


def table(result: Mapping) -> str:
    """A benchmark's rows as a markdown table."""
    return tabulate([_cells(row) for row in result["rows"]], HEADINGS, "pipe", disable_numparse=True)


def machine_line(result: Mapping) -> str:
    """What the benchmark ran on."""
    m = result["machine"]
    gpu = "" if m["gpu"] == "none" else f", {m['gpu']}"
    return (
        f"{m['processor']}, {m['threads']} of {m['cores']} cores{gpu}, torch {m['torch']}, load average {m['load']} at "
        f"the start; size `{result['size']}`. At best: {m['products_gflops']:,.0f} GFLOP/s of fp32 products, "
        f"{m['copies_gbs']:,.0f} GB/s read and written in a copy."
    )


def profiles(results: Mapping[str, Mapping]) -> str:
    """One line per hot path: what its time goes to."""
    lines = [
        (result["title"], ", ".join(f"{operator} {share:.0f} %" for operator, share in result["profile"]))
        for result in results.values()
        if result.get("profile")
    ]
    return tabulate(lines, ("hot path", "share of the time, by torch operator"), "pipe")


def document(results: Mapping[str, Mapping], text: str) -> str:
    """The text with each marked block replaced by what the results give.

    Raises:
        ValueError: a mark of a benchmark that has no result, or a mark without an end.
    """
    blocks = {name: f"{table(result)}\n\n{machine_line(result)}" for name, result in results.items()}
    blocks["profiles"] = profiles(results)
    begin, end = BEGIN.split("{}")
    pieces = text.split(begin)
    for i, piece in enumerate(pieces[1:], 1):
        name, rest = piece.split(end, 1)
        if name not in blocks or END not in rest:
            raise ValueError(f"{DOCUMENT}: the mark '{name}' has no result in {RESULTS}, or no '{END}' after it.")
        pieces[i] = f"{name}{end}\n\n{blocks[name]}\n\n{END}{rest.split(END, 1)[1]}"
    return begin.join(pieces)


def write_document() -> None:
    """Bring docs/performance.md up to date."""
    write_text_atomically(DOCUMENT, document(load(), DOCUMENT.read_text()))


def _cells(row: Mapping) -> list[str]:
    seconds = row.get("seconds", {})
    unit = row.get("unit", "s")
    ratio = row.get("ratio") or ({"median": seconds["direct"] / seconds["fast"]} if "direct" in seconds else None)
    remarks = [row["note"]] if "note" in row else []
    if "difference" in row:
        remarks.append(f"parameters differ by {row['difference']:.0e}")
    return [
        row["what"],
        _amount(seconds.get("direct"), unit),
        _amount(seconds.get("fast"), unit),
        _ratio(ratio),
        _fewer(row.get("flops")),
        _memory(row),
        "; ".join(remarks),
    ]


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit != "s":
        return f"{value:,.0f} {unit}"
    for limit, divisor, name in ((0.1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if value < limit:
            return f"{value / divisor:.3g} {name}"
    return f"{value / 86400:.3g} days"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    """The median, and in brackets the quartiles over rounds where there were several."""
    if ratio is None:
        return ""
    quartiles = f" ({_number(ratio['low'])} to {_number(ratio['high'])})" if ratio.get("rounds", 1) > 1 else ""
    return f"{_number(ratio['median'])}{quartiles}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _fewer(flops: Mapping | None) -> str:
    return f"{flops['direct'] / flops['fast']:.2g} times fewer" if flops else ""


def _memory(row: Mapping) -> str:
    beyond = row.get("memory_beyond_inputs")
    if not beyond:
        return ""
    text = f"{beyond['fast']:,.0f} MB"
    if "direct" in beyond:
        text += f" for {beyond['direct']:,.0f} MB ({100 * beyond['fast'] / beyond['direct']:.0f} %)"
    return text
