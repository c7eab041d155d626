"""What ``run.json`` says of verdicts: the maps of probabilities and the operating points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heads.errors import HeadsError
from heads.verdicts.maps import RAW, ProbabilityMaps, parse_maps
from heads.verdicts.points import BALANCED, OperatingPoint, parse_point

__all__ = ["VerdictRules", "parse_rules"]

_MAX_POINTS = 64


@dataclass(frozen=True)
class VerdictRules:
    """How a run's raw scores become probabilities and verdicts.

    Attributes
    ----------
    maps : ProbabilityMaps
    points : tuple of OperatingPoint
        Beside `BALANCED`, which every run has.
    point : str
        The one that is used where none is named.
    """

    maps: ProbabilityMaps = RAW
    points: tuple[OperatingPoint, ...] = ()
    point: str = BALANCED

    def __post_init__(self) -> None:
        names = [BALANCED, *(point.name for point in self.points)]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise HeadsError(f"there are two operating points {doubled[0]!r}")
        if self.point not in names:
            raise HeadsError(f"there is no operating point {self.point!r:.80}, expected one of {', '.join(names)}")

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands in ``run.json``."""
        return {
            "maps": self.maps.to_json(),
            "points": [point.to_json() for point in self.points],
            "point": self.point,
        }


def parse_rules(document: Mapping[str, Any], where: str) -> VerdictRules:
    """Read what `VerdictRules.to_json` wrote; it is not trusted."""
    if set(document) != {"maps", "points", "point"}:
        raise HeadsError(f"{where} has malformed verdicts: {document!r:.80}")
    maps, points, point = document["maps"], document["points"], document["point"]
    if not (isinstance(maps, dict) and isinstance(points, list) and isinstance(point, str)):
        raise HeadsError(f"{where} has malformed verdicts: {document!r:.80}")
    if len(points) > _MAX_POINTS:
        raise HeadsError(f"{where} has {len(points)} operating points, expected at most {_MAX_POINTS}")
    return VerdictRules(parse_maps(maps, where), tuple(parse_point(each, where) for each in points), point)
