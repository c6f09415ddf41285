"""Procedural images for the bundled `shapes` benchmark (numpy and Pillow only).

An image is a figure (`figures.FIGURES`) filled with a pattern (`PATTERNS`) under nuisance: colour, size, pose,
position, background, clutter and noise. `sample_scene` draws the nuisance, `render` paints it. Each image has one
generator of its own, seeded from a key of strings and integers, so an image does not depend on which others are
rendered, in which order, or by how many processes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.shapes.figures import FIGURES

SIZE = 48  # pixels of a finished image
_FINE = 2 * SIZE  # patterns and colours are composed at this size and averaged down
_MASK = 2 * _FINE  # polygons are filled at this size: Pillow draws without antialiasing

PATTERNS = ("solid", "striped", "dotted", "checkered", "grid")
STYLES = ("photo", "outline", "inverted", "noise")
COLOURS = {
    "red": (0.72, 0.10, 0.12),
    "green": (0.10, 0.48, 0.16),
    "blue": (0.12, 0.22, 0.70),
    "purple": (0.45, 0.12, 0.55),
    "orange": (0.80, 0.42, 0.06),
    "brown": (0.40, 0.24, 0.10),
    "teal": (0.05, 0.45, 0.48),
    "black": (0.08, 0.08, 0.09),
}


@dataclass(frozen=True)
class Scene:
    """What is in one image: the part of it that a caption could tell."""

    figure: str
    pattern: str
    colour: str
    radius: float  # pixels
    centre: tuple[float, float]  # pixels, (x, y)
    angle: float  # radians
    stretch: float  # width / height of the figure before rotation
    shear: float
    frequency: float  # pattern periods per pixel
    contrast: float  # 0..1, how far the colour of a pattern's gaps is from the colour of its marks
    clutter: int  # number of small marks in the background
    noise: float  # standard deviation, intensities in 0..1
    style: str = "photo"


def image_generator(*key: str | int) -> np.random.Generator:
    """Return the generator of the image that `key` names, e.g. ("test", "striped dax", 3, "photo")."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    # `random` only: its stream is the one numpy documents most plainly, and integers follow from it by truncation
    return low + (high - low) * float(rng.random())


def sample_scene(rng: np.random.Generator, figure: str, pattern: str, style: str = "photo") -> Scene:
    """Draw the nuisance of an image.

    Raises
    ------
    ValueError
        If the figure, the pattern or the style is unknown.
    """
    for value, known in ((figure, FIGURES), (pattern, PATTERNS), (style, STYLES)):
        if value not in known:
            raise ValueError(f"cannot render {value!r}: known are {', '.join(known)}")
    names = list(COLOURS)
    radius = _between(rng, 9.0, 17.0)
    margin = radius * 0.95
    return Scene(
        figure=figure,
        pattern=pattern,
        colour=names[int(rng.random() * len(names))],
        radius=radius,
        centre=(_between(rng, margin, SIZE - margin), _between(rng, margin, SIZE - margin)),
        angle=_between(rng, 0.0, 2.0 * np.pi),
        stretch=float(np.exp(_between(rng, -0.18, 0.18))),
        shear=_between(rng, -0.2, 0.2),
        frequency=_between(rng, 0.09, 0.15),
        contrast=_between(rng, 0.45, 0.95),
        clutter=int(_between(rng, 0.0, 9.0)),
        noise=_between(rng, 0.02, 0.11),
        style=style,
    )


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Paint a scene. `rng` draws what no caption tells (texture, clutter, noise).

    Returns
    -------
    numpy.ndarray
        uint8 RGB, `(SIZE, SIZE, 3)`.
    """
    mask = _figure_mask(scene)
    marks = _pattern_marks(scene, rng)
    if scene.style == "outline":
        fine = _outlines(mask, marks, rng)
    else:
        fine = _background(scene, rng)
        ink = np.array(COLOURS[scene.colour]) + np.array([_between(rng, -0.07, 0.07) for _ in range(3)])
        gap = ink + (_between(rng, 0.6, 0.95) - ink) * (0.75 * scene.contrast)
        paint = gap + marks[..., None] * (ink - gap)
        fine = fine + mask[..., None] * (paint - fine)
    image = fine.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    if scene.style == "inverted":
        image = 1.0 - image
    noise = scene.noise * rng.standard_normal(image.shape, dtype=np.float32)
    if scene.style == "noise":
        noise = noise + _heavy_noise(image, rng)
    return (np.clip(image + noise, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _figure_mask(scene: Scene) -> np.ndarray:
    """Return how much of each fine pixel the figure covers, `(_FINE, _FINE)` in 0..1."""
    scale = _MASK / SIZE
    cos, sin = np.cos(scene.angle), np.sin(scene.angle)
    pose = np.array([[cos, -sin], [sin, cos]]) @ np.array([[scene.stretch, scene.shear], [0.0, 1.0 / scene.stretch]])
    canvas = Image.new("L", (_MASK, _MASK), 0)
    draw = ImageDraw.Draw(canvas)
    for number, polygon in enumerate(FIGURES[scene.figure]()):
        corners = (polygon @ pose.T * scene.radius + scene.centre) * scale
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=255 if number == 0 else 0)
    return np.asarray(canvas.reduce(_MASK // _FINE), dtype=np.float32) / 255.0


def _pattern_marks(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return where a pattern's marks are, `(_FINE, _FINE)` in 0..1; a solid fill is one mark."""
    if scene.pattern == "solid":
        return np.ones((_FINE, _FINE), dtype=np.float32)
    phase = np.array([_between(rng, 0.0, 2.0 * np.pi) for _ in range(2)])
    turn = scene.angle + _between(rng, 0.0, np.pi)
    axis = (np.arange(_FINE, dtype=np.float32) + 0.5) / 2.0
    x, y = axis[None, :], axis[:, None]
    rate = 2.0 * np.pi * scene.frequency
    u = np.sin(rate * (np.cos(turn) * x + np.sin(turn) * y) + phase[0])
    if scene.pattern == "striped":
        level = u
    else:
        v = np.sin(rate * (np.cos(turn) * y - np.sin(turn) * x) + phase[1])
        if scene.pattern == "checkered":
            level = 2.0 * u * v
        elif scene.pattern == "dotted":
            level = u + v - 0.75
        else:
            level = np.maximum(u, v) - 0.6
    return np.clip(0.5 + 2.0 * level, 0.0, 1.0).astype(np.float32)


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return a light background with a colour ramp and clutter, `(_FINE, _FINE, 3)`."""
    first, second = (np.array([_between(rng, 0.55, 0.98) for _ in range(3)]) for _ in range(2))
    turn = _between(rng, 0.0, 2.0 * np.pi)
    axis = np.linspace(-0.5, 0.5, _FINE)
    ramp = 0.5 + 0.7 * (np.cos(turn) * axis[None, :] + np.sin(turn) * axis[:, None])
    ground = first + np.clip(ramp, 0.0, 1.0)[..., None] * (second - first)
    canvas = Image.fromarray((ground * 255.0 + 0.5).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(scene.clutter):
        x, y = (_between(rng, 0.0, _FINE) for _ in range(2))
        dx, dy = (_between(rng, -0.18, 0.18) * _FINE for _ in range(2))
        colour = tuple(int(255 * _between(rng, 0.15, 0.95)) for _ in range(3))
        if rng.random() < 0.6:
            draw.line((x, y, x + dx, y + dy), fill=colour, width=int(_between(rng, 1.0, 4.0)))
        else:
            spot = _between(rng, 1.5, 5.0)
            draw.ellipse((x - spot, y - spot, x + spot, y + spot), fill=colour)
    return np.asarray(canvas, dtype=np.float32) / 255.0


def _outlines(mask: np.ndarray, marks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a line drawing of the figure and of its pattern, dark on light paper, `(_FINE, _FINE, 3)`."""
    inside = mask > 0.5
    region = inside.astype(np.int8) + (inside & (marks > 0.5))
    edge = np.zeros(region.shape, dtype=bool)
    edge[:, 1:] |= region[:, 1:] != region[:, :-1]
    edge[1:, :] |= region[1:, :] != region[:-1, :]
    thick = edge.copy()
    thick[:, :-1] |= edge[:, 1:]
    thick[:-1, :] |= edge[1:, :]
    paper, line = _between(rng, 0.82, 1.0), _between(rng, 0.0, 0.35)
    grey = np.where(thick, line, paper).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _heavy_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return strong grain with some pixels driven to black or white, to be added to `image`."""
    grain = _between(rng, 0.15, 0.3) * rng.standard_normal(image.shape, dtype=np.float32)
    lottery = rng.random(image.shape[:2])
    rate = _between(rng, 0.03, 0.12)
    grain[lottery < rate] = 1.0
    grain[lottery > 1.0 - rate] = -1.0
    return grain
