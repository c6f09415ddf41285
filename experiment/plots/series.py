"""What is drawn: accuracies of runs that differ in nothing but the seed, kept apart by setting."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from experiment.stats import mean
from experiment.tables.model import Stat
from experiment.tables.records import by_seed, by_setting

log = logging.getLogger(__name__)

ZEROSHOT = "ZeroshotCLIP"


def titled_settings(records: Sequence[dict], but: Sequence[str] = ()) -> dict[str, list[dict]]:
    """Records by what may not be mixed in a figure, under a text that says it, the largest group first.

    A split of our own is told in the name of the data set instead (`panel_of`).

    Args:
        records: any.
        but: keys of the setting that may differ within a figure.
    """
    groups = by_setting(records, without=("split_origin", *but))
    texts = [describe_setting(group[0], but) for group in groups]
    count = Counter(texts)
    for i, group in enumerate(groups):
        if count[texts[i]] > 1:  # they differ in their weights
            weights = str(group[0].get("weights_fingerprint", group[0].get("weights", "")))[:8]
            texts[i] += f", weights {weights or 'unknown'}"
    return dict(sorted(zip(texts, groups, strict=True), key=lambda pair: (-len(pair[1]), pair[0])))


def describe_setting(record: dict, but: Sequence[str] = ()) -> str:
    """For a figure's title, e.g. `RN50, preset repaired, protocol fewshot-val`."""
    parts = [record["backbone"], f"preset {record['preset']}", f"protocol {record['protocol']}"]
    noise, classes = record.get("label_noise", 0.0), record.get("subsample_classes", "all")
    if noise and "label_noise" not in but:
        parts.append(f"{100 * noise:g} % wrong labels")
    if classes != "all":
        parts.append(f"{classes} classes")
    return ", ".join(parts)


def panel_of(record: dict) -> str:
    """The data set, and whether its split is our own."""
    own = record.get("split_origin", "standard") != "standard"
    return f"{record['dataset']} (own split)" if own else record["dataset"]


def shots_text(shots: int) -> str:
    """`1 shot`, `16 shots`."""
    return f"{shots} shot{'' if shots == 1 else 's'}"


def stats(records: Iterable[dict], key: Callable[[dict], Hashable], ci: str = "t") -> dict[Hashable, Stat]:
    """One figure per key: the runs of one config and one split.

    Where runs of several configs or splits have the same key (older records, for example), those of the one with most
    seeds are taken, and a warning names the others.
    """
    groups: dict[Hashable, dict[tuple, list]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        config = "" if record["method"] == ZEROSHOT else record["config_hash"]  # its config differs by the shots alone
        groups[key(record)][config, str(record.get("split_hash", ""))].append(record)
    result = {}
    for name, configs in groups.items():
        runs = {config: by_seed(members) for config, members in sorted(configs.items())}
        chosen = max(runs, key=lambda config: len(runs[config]))
        if len(runs) > 1:
            first = next(iter(runs[chosen].values()))
            others = sorted({config for config, _ in runs if config != chosen[0]}) or ["runs on another split"]
            log.warning(
                "%s on %s, %s: there are runs of several configs; config %s is drawn, left out: %s",
                *(first["method"], panel_of(first), shots_text(first["shots"]), chosen[0], ", ".join(others)),
            )
        result[name] = Stat({seed: record["accuracy"] for seed, record in runs[chosen].items()}, ci)
    return result


def average(parts: Sequence[Stat]) -> Stat:
    """The average over data sets, seed by seed; of unequal seeds, the average of the means, without an interval."""
    seeds = {tuple(part.by_seed) for part in parts}
    if len(seeds) == 1:
        return Stat({seed: mean([part.by_seed[seed] for part in parts]) for seed in seeds.pop()}, parts[0].ci)
    return Stat({0: mean([part.mean for part in parts])}, parts[0].ci)


def nothing(what: str, needed: str, command: str) -> ValueError:
    """The error where there is nothing to draw."""
    return ValueError(f"There is nothing to draw {what} from: {needed}. Make some, e.g.\n  {command}")
