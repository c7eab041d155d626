"""A scene becomes linear radiance: a sky, a textured ground, and lit objects with shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demo.objects import PATTERNS, SHAPES, Image, cut_texture
from demo.scenes import Scene, Thing

__all__ = ["render_scene"]

_COLOURS = {  # linear reflectance
    "red": (0.62, 0.07, 0.06),
    "green": (0.10, 0.42, 0.12),
    "blue": (0.07, 0.16, 0.58),
    "yellow": (0.78, 0.58, 0.08),
    "purple": (0.33, 0.09, 0.46),
    "pink": (0.80, 0.34, 0.42),
    "brown": (0.28, 0.14, 0.07),
    "white": (0.82, 0.81, 0.78),
    "black": (0.05, 0.05, 0.06),
}
_GROUNDS = {  # linear reflectance, and the contrast of the texture
    "grass": ((0.13, 0.27, 0.07), 0.40),
    "sand": ((0.55, 0.43, 0.27), 0.16),
    "snow": ((0.74, 0.78, 0.84), 0.08),
    "gravel": ((0.30, 0.28, 0.26), 0.45),
    "a wooden floor": ((0.36, 0.21, 0.11), 0.20),
}
_SKIES = {  # radiance at the zenith and at the horizon, clouds, strength of the sun
    "grey": ((0.42, 0.45, 0.49), (0.62, 0.64, 0.66), 0.25, 0.45),
    "blue": ((0.12, 0.28, 0.62), (0.52, 0.66, 0.82), 0.00, 0.95),
    "cloudy": ((0.20, 0.35, 0.62), (0.60, 0.68, 0.76), 0.75, 0.75),
    "golden": ((0.40, 0.34, 0.38), (0.90, 0.58, 0.26), 0.35, 0.85),
    "dusky": ((0.12, 0.12, 0.26), (0.60, 0.33, 0.32), 0.40, 0.60),
}


@dataclass(frozen=True)
class _Light:
    side: float  # x part of the direction to the sun, its sign says from where it shines
    ambient: Image
    key: Image


@dataclass(frozen=True)
class _Place:
    thing: Thing
    x: float
    foot: float
    radius: float  # all in units of the picture's width


def render_scene(scene: Scene, size: int, *, rng: np.random.Generator) -> Image:
    """Draw a scene with a layout, a light and textures of its own.

    Parameters
    ----------
    scene
        What to show.
    size
        Width and height in pixels.
    rng
        Decides on everything that the caption leaves open.

    Returns
    -------
    ndarray of shape (size, size, 3), float32
        Linear radiance; a white surface in full light is about 1.
    """
    horizon = rng.uniform(0.34, 0.52)
    zenith, skyline = (np.array(colour, np.float32) for colour in _SKIES[scene.sky][:2])
    sun = _SKIES[scene.sky][3]
    light = _Light(
        side=float(rng.choice((-1.0, 1.0))) * rng.uniform(0.35, 0.65),
        ambient=0.35 * (zenith + skyline) + np.float32(0.1),
        key=np.float32(sun) * (0.55 + 0.45 * skyline / skyline.max()),
    )
    canvas = _draw_backdrop(scene, size, horizon, light, rng)
    for place in _lay_out(scene, horizon, rng):
        _draw_shadow(canvas, place, light.side, 0.8 * sun)
        _draw_thing(canvas, place, light, rng)
    return canvas * np.float32(rng.uniform(0.85, 1.15))


def _lay_out(scene: Scene, horizon: float, rng: np.random.Generator) -> list[_Place]:
    """Put every object somewhere, the farthest first."""
    depths = {"beside": (0.45, 0.45), "behind": (0.2, 0.7), "in front of": (0.7, 0.2)}[scene.relation]
    things = [(scene.first, depths[0])] * scene.first.count + [(scene.second, depths[1])] * scene.second.count
    slots = (rng.permutation(len(things)) + 0.5) / len(things)
    places = []
    for (thing, depth), slot in zip(things, slots, strict=True):
        near = depth + rng.uniform(-0.12, 0.12)
        x = 0.08 + 0.84 * slot + rng.uniform(-0.05, 0.05)
        places.append(_Place(thing, x, horizon + (1 - horizon) * near, 0.06 + 0.13 * near))
    return sorted(places, key=lambda place: place.foot)


def _draw_backdrop(scene: Scene, size: int, horizon: float, light: _Light, rng: np.random.Generator) -> Image:
    """Draw the sky down to the horizon, and the ground below it."""
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    below = round(horizon * size)
    sky = _draw_sky(scene, rows[:below] / horizon, size, rng)
    ground = _draw_ground(scene, (rows[below:] - horizon) / (1 - horizon), size, light, rng)
    return np.concatenate([sky, ground]).astype(np.float32, copy=False)


def _draw_sky(scene: Scene, low: Image, size: int, rng: np.random.Generator) -> Image:
    """Draw rows whose height above the horizon falls from ``low`` = 0 to 1."""
    zenith, skyline, clouds = (np.array(part, np.float32) for part in _SKIES[scene.sky][:3])
    colour = (zenith + (skyline - zenith) * low[:, None])[:, None, :]
    cover = 0.8 * clouds * np.clip(0.35 + 0.6 * cut_texture(len(low), size, rng), 0, 1)[..., None]
    return np.asarray(colour + (0.2 + 0.75 * skyline - colour) * cover)


def _draw_ground(scene: Scene, near: Image, size: int, light: _Light, rng: np.random.Generator) -> Image:
    """Draw rows that come from the horizon, ``near`` = 0, to the viewer, 1."""
    near = np.maximum(near, 0)[:, None]
    reflectance, contrast = _GROUNDS[scene.ground]
    rows = (size / 2.2 * np.log1p(8 * near[:, 0])).astype(np.intp)  # foreshortened: far rows lie closer together
    texture = cut_texture(size, size, rng)[rows] * (contrast * (0.3 + 0.7 * near))
    if scene.ground == "a wooden floor":
        across = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        planks = across / (near + 0.25) * 5 + 0.2
        texture = texture - 0.6 * np.exp(-(((planks % 1 - 0.5) / 0.04) ** 2)) * np.sqrt(near)
    haze = 0.35 * np.exp(-7 * near)[..., None]
    lit = np.array(reflectance, np.float32) * (light.ambient + 0.7 * light.key) * (1 - haze)
    skyline = np.array(_SKIES[scene.sky][1], np.float32)
    return np.asarray(np.clip(1 + texture, 0.15, 2.0)[..., None] * lit + skyline * haze)


def _open_window(size: int, x: float, y: float, reach: tuple[float, float]) -> tuple[slice, slice, Image, Image]:
    """Give the rows and columns around a spot, and coordinates that are ±1 at its reach in x and y."""
    spans, axes = [], []
    for middle, half in ((x, reach[0]), (y, reach[1])):
        start, stop = np.clip([(middle - 1.2 * half) * size, (middle + 1.2 * half) * size], 0, size).astype(int)
        spans.append(slice(start, stop))
        axes.append(((np.arange(start, stop, dtype=np.float32) + 0.5) / size - middle) / half)
    return spans[1], spans[0], axes[0][None, :], axes[1][:, None]


def _draw_shadow(canvas: Image, place: _Place, side: float, strength: float) -> None:
    x, y = place.x - 1.2 * side * place.radius, place.foot - 0.08 * place.radius
    rows, columns, u, v = _open_window(len(canvas), x, y, (1.5 * place.radius, 0.35 * place.radius))
    canvas[rows, columns] *= (1 - strength * np.clip(1.6 - 1.6 * np.hypot(u, v), 0, 1))[..., None]


def _draw_thing(canvas: Image, place: _Place, light: _Light, rng: np.random.Generator) -> None:
    size, radius = len(canvas), place.radius
    rows, columns, u, v = _open_window(size, place.x, place.foot - radius, (radius, radius))
    mirror = math.copysign(1, light.side)
    distance, nx, ny = SHAPES[place.thing.shape](u * mirror, v)
    nx = nx * mirror
    nz = np.sqrt(np.maximum(1 - nx**2 - ny**2, 0))
    facing = np.maximum(light.side * nx - 0.6 * ny + 0.55 * nz, 0)[..., None]
    pattern = PATTERNS[place.thing.pattern](u, v, rng)
    albedo = np.array(_COLOURS[place.thing.colour], np.float32) * pattern[..., None]
    radiance = albedo * (light.ambient * (0.8 - 0.35 * ny[..., None]) + light.key * facing)
    radiance += 0.35 * light.key * facing**24
    cover = np.clip(0.5 - distance * radius * size, 0, 1)[..., None]
    canvas[rows, columns] = canvas[rows, columns] * (1 - cover) + radiance * cover
