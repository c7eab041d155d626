"""What ``run.json`` says of verdicts: the maps of probabilities, the operating points, and the sets of generators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heads.errors import HeadsError
from heads.files.ranges import Range
from heads.verdicts.maps import RAW, ProbabilityMaps, parse_maps
from heads.verdicts.points import BALANCED, OperatingPoint, parse_point
from heads.verdicts.sets import GeneratorSets, parse_sets

__all__ = ["VerdictRules", "parse_rules"]

_MAX_POINTS = 64
_MAX_RULE = 400
_SCORE = Range(float, 0, 1)
_KEYS = {"maps", "points", "point", "threshold_rule", "balanced", "sets"}


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
    threshold_rule : str
        How the threshold of `BALANCED` was chosen, in words; the default is that of early runs.
    balanced : float or None
        Threshold of `BALANCED`. None: it is the run's own ``threshold``, as long as no other point takes its place.
    sets : GeneratorSets or None
    """

    maps: ProbabilityMaps = RAW
    points: tuple[OperatingPoint, ...] = ()
    point: str = BALANCED
    threshold_rule: str = "best balanced accuracy"
    balanced: float | None = None
    sets: GeneratorSets | None = None

    def __post_init__(self) -> None:
        if self.balanced is not None:
            _SCORE.check(self.balanced, f"threshold of operating point {BALANCED}")
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
            "threshold_rule": self.threshold_rule,
            "balanced": self.balanced,
            "sets": self.sets and self.sets.to_json(),
        }


def parse_rules(document: Mapping[str, Any], where: str) -> VerdictRules:
    """Read what `VerdictRules.to_json` wrote; it is not trusted."""
    if set(document) != _KEYS:
        raise HeadsError(f"{where} has malformed verdicts: {document!r:.80}")
    maps, points, point, rule = (document[name] for name in ("maps", "points", "point", "threshold_rule"))
    is_text = isinstance(point, str) and isinstance(rule, str) and len(rule) <= _MAX_RULE
    if not (is_text and isinstance(maps, dict) and isinstance(points, list)):
        raise HeadsError(f"{where} has malformed verdicts: {document!r:.80}")
    if len(points) > _MAX_POINTS:
        raise HeadsError(f"{where} has {len(points)} operating points, expected at most {_MAX_POINTS}")
    sets = document["sets"]
    return VerdictRules(
        parse_maps(maps, where),
        tuple(parse_point(each, where) for each in points),
        point,
        rule,
        document["balanced"],
        None if sets is None else parse_sets(sets, where),
    )
