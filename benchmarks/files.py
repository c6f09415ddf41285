"""From files to features in one pass over their bytes; decoders of JPEG files; listing ImageNet's names.

All seconds are processor seconds of this program and its workers, as a busy machine's clock says little.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.extraction import random_clip
from benchmarks.measure import Rounds, memory_of
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.data.decoders import DECODERS, PILLOW, check_decoder
from simnl.data.digests import FileDigests
from simnl.data.images import decode_image
from simnl.data.listing import list_folders, list_images
from simnl.data.splits import Item

TITLE = "One pass over files"
SMALL, PHOTO = (64, 64), (500, 400)
IMAGES = {"tiny": (12, 6), "fast": (2000, 300), "full": (4000, 2000)}  # small ones, photos
REPEATS = {"tiny": 1, "fast": 3, "full": 7}
FOLDERS = {"tiny": (2, 5), "fast": (40, 1281), "full": (1000, 1281)}
NAMES = 1_281_167  # of ImageNet's training images


def run(size: str) -> dict:
    """Rows for the table."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for (width, height), number in zip((SMALL, PHOTO), IMAGES[size], strict=True):
            files = make_jpegs(folder / f"{width}", width, height, number)
            what = f"{number:,} JPEG files of {width} x {height}"
            rows += [cold(what, files, folder, REPEATS[size]), *decoders(what, files, REPEATS[size])]
        rows.append(listing(folder / "names", *FOLDERS[size]))
    return {"rows": rows}


def make_jpegs(folder: Path, width: int, height: int, number: int) -> list[str]:
    """Smooth random images with some grain, all different (a photo has about 60 kB)."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for i in range(number):
        if i % 50 == 0:  # drawing pixels costs more than all that is measured
            small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
            grain = rng.integers(-20, 21, smooth.shape, dtype=np.int16)
        pixels = np.clip(smooth + np.roll(grain, i % 50, 1), 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{i:05d}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=85)
    return paths


def processor_seconds(case: Callable) -> float:
    """Of a single call, and of the processes that it started and waited for."""
    start = _used()
    case()
    return _used() - start


def _used() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def in_turns(cases: dict[str, Callable], rounds: int) -> Rounds:
    """Processor seconds of cases that take turns; the first round is not counted."""
    for case in cases.values():
        case()
    times = Rounds((name, []) for name in cases)
    for _ in range(rounds):
        for name, case in cases.items():
            times[name].append(processor_seconds(case))
    return times


def cold(what: str, files: list[str], folder: Path, repeats: int) -> dict:
    """Features of new files with the bundled model: digests first and files read again, against one pass."""
    clip = random_clip("tiny-clip", folder, "fp32")
    spec = ViewSpec.test(clip.preprocess)

    def stored(digests_first: bool) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as root:
            if digests_first:
                FileDigests(Path(root)).of(files)
            FeatureStore(root, clip, progress=False).warm(files, spec)

    times = in_turns({"direct": lambda: stored(True), "fast": lambda: stored(False)}, repeats)
    megabytes = sum(Path(file).stat().st_size for file in files) / 1e6
    note = f"processor seconds; reads {megabytes:,.1f} MB, and twice that in two passes; tiny CLIP"
    return {"what": f"{what}: digest, decode, encode, store, against two passes", **times.compared(), "note": note}


def decoders(what: str, files: list[str], repeats: int) -> list[dict]:
    """Each decoder that is installed against Pillow."""
    contents = [Path(file).read_bytes() for file in files[:200]]

    def decoded(name: str) -> Callable:
        return lambda: [decode_image(content, name) for content in contents]

    names = [name for name in DECODERS if is_installed(name)]
    times = in_turns({name: decoded(name) for name in names}, repeats)
    rows = []
    for name in names[1:]:
        equal = all(decode_image(c, name).tobytes() == decode_image(c).tobytes() for c in contents[:20])
        rates = [f"{len(contents) / times.median(each):,.0f} images/s ({each})" for each in (PILLOW, name)]
        note = ", ".join([*rates, "equal pixels" if equal else "other pixels"])
        rows.append({"what": f"{what}: decode with {name}", **times.compared(PILLOW, name), "note": note})
    return rows


def is_installed(decoder: str) -> bool:
    """Whether a decoder can be used here."""
    try:
        return bool(check_decoder(decoder))
    except ValueError:
        return False


def listing(folder: Path, folders: int, images: int) -> dict:
    """All names below class folders, as ImageNet's are listed; empty files stand for images."""
    for number in range(folders):
        (folder / f"n{number:08d}").mkdir(parents=True)
        for image in range(images):
            (folder / f"n{number:08d}" / f"n{number:08d}_{image}.JPEG").touch()
    total = folders * images
    used = processor_seconds(lambda: list_all(str(folder)))
    memory = memory_of(list_all_in, folder=str(folder))
    beyond = max(0.0, memory["peak"] - memory["inputs"])
    share = NAMES / total
    note = f"processor seconds; ImageNet's {NAMES:,} by proportion: {share * used:.1f} s, {share * beyond:,.0f} MB"
    row = {"what": f"listing {total:,} names in {folders:,} folders", "seconds": {"fast": used}, "note": note}
    return row | ({"memory_beyond_inputs": {"fast": beyond}} if beyond else {})


def list_all(folder: str) -> list[Item]:
    """The items of a split, as `WnidFolders.list_items` makes them."""
    items: list[Item] = []
    for label, name in enumerate(list_folders(Path(folder))):
        items += [Item(f"{name}/{image}", label, name) for image in list_images(f"{folder}/{name}")]
    return items


def list_all_in(folder: str) -> Callable:
    """`list_all` as a case of `memory_of`."""
    return lambda: list_all(folder)
