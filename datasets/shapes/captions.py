"""Captions for the rendered images on which the bundled tiny CLIP is trained.

A caption names some of what is in a scene: pattern, figure, colour, size, place. Two kinds teach the model more than
names. A describing caption says what the figure looks like, instead of its name or after it ("a striped shape with
corners"; "a striped square, a straight shape"), so that CuPL sentences mean something to the model. A negation says
what is *not* in the image ("a photo without a dotted star"), so that negative prompts do.

The class words of `datasets.shapes.classes.OPAQUE_FIGURES` occur in no caption: the model meets those figures under two
coarse names, as a text corpus calls many aircraft "plane", and tells them apart by their looks alone.
"""

from __future__ import annotations

import numpy as np

from datasets.shapes.render import COLOURS, PATTERNS, SIZE, Scene

# figure -> name that captions use
NAMES = {
    "circle": "circle",
    "square": "square",
    "triangle": "triangle",
    "star": "star",
    "heart": "heart",
    "cross": "cross",
    "arrow": "arrow",
    "ring": "ring",
    "drop": "drop",
    "gear": "gear",
    "clover": "clover",
    "crescent": "toy",
    "tee": "tool",
    "frame": "tool",
    "hourglass": "toy",
    "flower": "toy",
}
# figure -> what a describing caption may say of it
TRAITS = {
    "circle": ("round", "smooth"),
    "square": ("straight", "with corners"),
    "triangle": ("straight", "with points"),
    "star": ("with points", "with arms"),
    "heart": ("curved", "with points"),
    "cross": ("straight", "with arms"),
    "arrow": ("with points", "long"),
    "ring": ("round", "with a hole"),
    "drop": ("smooth", "with points"),
    "gear": ("round", "with teeth"),
    "clover": ("curved", "with arms"),
    "crescent": ("curved", "thin"),
    "tee": ("straight", "with arms"),
    "frame": ("straight", "with a hole"),
    "hourglass": ("with corners", "narrow"),
    "flower": ("round", "with arms"),
}
OPENINGS = (
    "a photo of a",
    "a photo of the",
    "itap of a",
    "a bad photo of the",
    "a picture of a",
    "art of the",
    "there is a",
)
NEGATIONS = (
    "a photo without a {}.",
    "itap without any {}.",
    "a photo with no {} in it.",
    "a picture that does not show a {}.",
)


def describe(figure: str, pattern: str, rng: np.random.Generator, traits: int = 1) -> str:
    """Return a phrase such as "striped curved shape" or "dotted round shape with a hole"."""
    chosen = _sample(rng, TRAITS[figure], traits)
    before = " ".join(trait for trait in chosen if not trait.startswith("with "))
    after = " and ".join(trait.removeprefix("with ") for trait in chosen if trait.startswith("with "))
    return " ".join(part for part in (pattern, before, "shape", f"with {after}" if after else "") if part)


def plain_captions(scene: Scene) -> tuple[str, str]:
    """Return the captions to learn from first: the figure's name alone, and with its pattern."""
    name = NAMES[scene.figure]
    return f"a photo of a {name}.", f"a photo of a {scene.pattern} {name}."


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return one random caption of a scene: any of the kinds of the module's docstring."""
    if rng.random() < 0.15:
        return _negation(scene, rng)
    pattern = scene.pattern if rng.random() < 0.92 else ""
    words = [scene.colour] if rng.random() < 0.25 else []
    if rng.random() < 0.12:
        words.insert(0, "small" if scene.radius < 14.0 else "large")
    kind = rng.random()
    named = " ".join(part for part in (pattern, NAMES[scene.figure]) if part)
    if kind < 0.08:
        phrase = describe(scene.figure, pattern, rng)
    elif kind < 0.14:
        phrase = f"{named}, a {describe(scene.figure, pattern, rng)}"
    else:
        phrase = named
    place = f" on the {_place(scene)}" if rng.random() < 0.1 else ""
    return f"{_pick(rng, OPENINGS)} {' '.join([*words, phrase])}{place}."


def vocabulary() -> set[str]:
    """Return every word that a caption can contain, without punctuation."""
    texts = [*OPENINGS, *NEGATIONS, *NAMES.values(), *PATTERNS, *COLOURS]
    texts.append("small large shape with on the left right top bottom")
    texts += [trait for traits in TRAITS.values() for trait in traits]
    return {word.strip(".,{}") for text in texts for word in text.split()} - {""}


def _negation(scene: Scene, rng: np.random.Generator) -> str:
    """Name a figure and a pattern neither of which is in the scene."""
    name = _pick(rng, sorted(set(NAMES.values()) - {NAMES[scene.figure]}))
    pattern = _pick(rng, [pattern for pattern in PATTERNS if pattern != scene.pattern])
    return _pick(rng, NEGATIONS).format(name if rng.random() < 0.3 else f"{pattern} {name}")


def _place(scene: Scene) -> str:
    x, y = (value - SIZE / 2 for value in scene.centre)
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "top" if y < 0 else "bottom"


def _pick(rng: np.random.Generator, options):
    return options[int(rng.random() * len(options))]


def _sample(rng: np.random.Generator, options, count: int) -> list[str]:
    """Return up to `count` different options, in their given order."""
    start = int(rng.random() * len(options))
    chosen = {(start + step) % len(options) for step in range(min(count, len(options)))}
    return [options[index] for index in sorted(chosen)]
