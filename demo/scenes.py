"""Captions from a little grammar, each of which describes one scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["COLOURS", "GROUNDS", "SHAPES", "SKIES", "WORDS", "Scene", "Thing", "compose_scenes"]

_COUNTS = {1: "a", 2: "two", 3: "three"}
_PATTERNS = ("", "striped", "spotted", "rough")
_RELATIONS = ("beside", "behind", "in front of")

COLOURS = ("red", "green", "blue", "yellow", "purple", "pink", "brown", "white", "black")
GROUNDS = ("grass", "sand", "snow", "gravel", "a wooden floor")
SHAPES = {"ball": "balls", "box": "boxes", "cone": "cones", "pillar": "pillars", "mushroom": "mushrooms"}
SKIES = ("grey", "blue", "cloudy", "golden", "dusky")

WORDS: tuple[str, ...] = tuple(
    sorted(
        word
        for word in {*_COUNTS.values(), *_PATTERNS, *COLOURS, *SHAPES, *SHAPES.values(), *SKIES}
        | set(" ".join((*_RELATIONS, *GROUNDS, "on under sky")).split())
        if word
    )
)


@dataclass(frozen=True)
class Thing:
    """One, two or three objects of a kind; the pattern may be empty."""

    count: int
    pattern: str
    colour: str
    shape: str

    @property
    def phrase(self) -> str:
        """Say it in words, such as ``two striped green boxes``."""
        noun = self.shape if self.count == 1 else SHAPES[self.shape]
        return " ".join(filter(None, (_COUNTS[self.count], self.pattern, self.colour, noun)))


@dataclass(frozen=True)
class Scene:
    """What a picture shows; where everything stands is drawn anew for each picture."""

    first: Thing
    relation: str
    second: Thing
    ground: str
    sky: str

    @property
    def caption(self) -> str:
        """Say it in words, such as ``a red ball beside two green boxes on sand under a grey sky``."""
        things = f"{self.first.phrase} {self.relation} {self.second.phrase}"
        return f"{things} on {self.ground} under a {self.sky} sky"


def compose_scenes(count: int, *, seed: int) -> tuple[Scene, ...]:
    """Draw ``count`` scenes of the grammar, no two with the same caption."""
    rng = np.random.default_rng([seed, 0])
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = _compose_scene(rng)
        scenes[scene.caption] = scene
    return tuple(scenes.values())


def _compose_scene(rng: np.random.Generator) -> Scene:
    first, second = (
        Thing(
            count=int(rng.integers(1, 4)),
            pattern=str(rng.choice(_PATTERNS)),
            colour=str(rng.choice(COLOURS)),
            shape=str(rng.choice(list(SHAPES))),
        )
        for _ in range(2)
    )
    relation, ground, sky = (str(rng.choice(words)) for words in (_RELATIONS, GROUNDS, SKIES))
    return Scene(first, relation, second, ground, sky)
