"""Which heads an ensemble has; loads no framework."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from heads.data.fusion import FUSIONS, STRUCTURED
from heads.errors import HeadsError
from heads.head.kinds import HEADS, config_class, find_kind

__all__ = ["MOST_MEMBERS", "EnsembleConfig", "MemberSpec", "name_run"]

MOST_MEMBERS = 16
_FUSION, _VIEWS, _WEIGHTS = "fusion", "invariant_to", "invariances"
_MEMBER = re.compile(r"([a-z0-9_]+)(?:\*([1-9][0-9]?))?(?::([a-z-]+))?")
_RUN = re.compile(r"run:[0-9a-f]{12}")
_EXAMPLES = "e.g. lda, mlp*5 (five seeds), linear:image (these columns alone)"


@dataclass(frozen=True)
class MemberSpec:
    """One head of an ensemble that is to be fitted.

    Attributes
    ----------
    kind : str
        A key of `heads.head.kinds.HEADS`.
    fusion : str or None
        Which of the ensemble's columns it takes; None: all.
    place, n : int
        The how-manieth it is of the members of its kind, from 0, and how many those are.
    """

    kind: str
    fusion: str | None
    place: int
    n: int

    def seed(self, seed: int) -> int:
        """Return its own seed: no two members of a kind have one in common, nor do ensembles of other seeds."""
        return (seed * self.n + self.place) % 2**31


@dataclass(frozen=True)
class EnsembleConfig:
    """What an `EnsembleHead` is made of.

    Attributes
    ----------
    members : tuple of str
        Each ``KIND``, ``KIND*N`` (with N seeds), ``KIND:FUSION`` (on the columns of a fusion that are part of the
        ensemble's) or ``KIND*N:FUSION``; 2 to 16 heads in all. Or, all of them, fitted runs: `name_run`.
    own : mapping of str to mapping
        Settings of all members of a kind, by kind; what is not given is the kind's default.
    fusion : str
        A key of `heads.data.fusion.FUSIONS`: the columns that there are.
    invariant_to : tuple of str
        That of the members that look at it (`sees_further`): names of views that show no more than how views differ.
    """

    members: tuple[str, ...] = ("lda", "mlp")
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fusion: str = "concat"
    invariant_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.fusion, str) or self.fusion not in FUSIONS:
            raise HeadsError(f"fusion is {self.fusion!r:.80}, expected one of {', '.join(FUSIONS)}")
        specs = self.specs
        n_heads = len(specs) or len(self.members)
        if not 2 <= n_heads <= MOST_MEMBERS:
            raise HeadsError(f"members are {n_heads} heads, expected 2 to {MOST_MEMBERS}, {_EXAMPLES}")
        for kind in self.own:
            if kind not in self.kinds:
                raise HeadsError(f"settings of {kind!r:.80} were given, the members are {', '.join(self.members):.200}")
        if not isinstance(self.invariant_to, tuple) or not all(isinstance(view, str) for view in self.invariant_to):
            raise HeadsError(f"invariant_to are {self.invariant_to!r:.80}, expected a list")
        if self.invariant_to and not any(self.sees_further(spec) for spec in specs):
            named = ", ".join(self.members)
            raise HeadsError(f"invariant_to is no setting of the members {named:.200}: add one that has it, e.g. lda")
        if len({str(self.own.get(kind, {}).get("balance", "none")) for kind in self.kinds}) > 1:
            raise HeadsError(f"balance is not that of all members, {', '.join(self.members):.200}: give each the same")
        fixed = [(spec.kind, spec.fusion or self.fusion) for spec in specs if not find_kind(spec.kind).is_random]
        if len(set(fixed)) < len(fixed):
            raise HeadsError(
                f"members are {', '.join(self.members):.200}: {fixed[-1][0]!r} is there twice with the same columns, "
                "and nothing in it is random; name it once"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from parsed JSON or TOML, with every setting of the members; unknown keys are refused.

        ``members`` may be a text with commas; ``KIND.name`` is the setting of a member as well as ``own`` is.
        """
        plain = {key: value for key, value in values.items() if "." not in key}
        unknown = sorted(plain.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            name = f"{unknown[0]:.80}"
            raise HeadsError(
                f"unknown setting {name!r} of head 'ensemble': settings of members have their kind before them, "
                f"e.g. --set mlp.{name}=…"
            )
        own = _parse_own(plain.pop("own", {}))
        for key in values.keys() - plain.keys() - {"own"}:
            kind, _, name = key.partition(".")
            own.setdefault(kind, {})[name] = values[key]
        if "members" in plain:
            plain["members"] = _parse_members(plain["members"])
        if isinstance(plain.get(_VIEWS), list):
            plain[_VIEWS] = tuple(plain[_VIEWS])
        given = cls(**plain, own=own)
        return cls(**plain, own={kind: _complete(kind, own.get(kind, {})) for kind in given.kinds})

    @property
    def are_runs(self) -> bool:
        """Whether the members are fitted runs: then nothing is fitted, and `specs` is empty."""
        return all(map(_RUN.fullmatch, self.members))

    @property
    def specs(self) -> tuple[MemberSpec, ...]:
        """The heads that are to be fitted, one after another."""
        if self.are_runs:
            return ()
        found = [part for member in self.members for part in _parse_member(member)]
        n, seen = Counter(kind for kind, _ in found), Counter[str]()
        specs = []
        for kind, fusion in found:
            specs.append(MemberSpec(kind, fusion, seen[kind], n[kind]))
            seen[kind] += 1
        return tuple(specs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the heads that are to be fitted, each once."""
        return tuple(dict.fromkeys(spec.kind for spec in self.specs))

    @property
    def is_random(self) -> bool:
        """Whether a member differs from seed to seed."""
        return any(find_kind(kind).is_random for kind in self.kinds)

    def sees_further(self, spec: MemberSpec) -> bool:
        """Return whether one of `specs` looks at ``invariant_to``; one that gives those views no weight does not."""
        known = config_class(spec.kind).__dataclass_fields__
        if _WEIGHTS not in known:
            return _VIEWS in known
        weights = self.own.get(spec.kind, {}).get(_WEIGHTS, known[_WEIGHTS].default)
        return not isinstance(weights, list | tuple) or any(weights)  # what is no list is refused by its own config

    def of(self, spec: MemberSpec) -> Any:
        """Return the config of one of `specs`."""
        values = dict(self.own.get(spec.kind, {}))
        if find_kind(spec.kind).is_network:
            values["fusion"] = spec.fusion or self.fusion
        if self.sees_further(spec):
            values[_VIEWS] = self.invariant_to
        return config_class(spec.kind).from_mapping(values)


def name_run(digest: str) -> str:
    """Return what `EnsembleConfig.members` calls a run: not where it lies, but what it is."""
    return f"run:{digest[:12]}"


def _parse_members(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise HeadsError(f"members are {value!r:.80}, expected a list, {_EXAMPLES}")
    if len(parts) > MOST_MEMBERS:
        raise HeadsError(f"members are {len(parts)}, expected 2 to {MOST_MEMBERS}")
    return tuple(part.strip() for part in parts)


def _parse_member(member: str) -> list[tuple[str, str | None]]:
    """Return kind and fusion of each head that a text asks for."""
    found = _MEMBER.fullmatch(member)
    kinds = [name for name, kind in HEADS.items() if not kind.has_members]
    if found is None or found[1] not in kinds:
        raise HeadsError(f"member is {member!r:.80}, expected one of {', '.join(kinds)}, {_EXAMPLES}")
    kind, count, fusion = found[1], int(found[2] or 1), found[3]
    if fusion is not None and (fusion not in FUSIONS or (fusion in STRUCTURED and not find_kind(kind).is_network)):
        able = [name for name in FUSIONS if name not in STRUCTURED or find_kind(kind).is_network]
        raise HeadsError(f"member is {member!r:.80}, expected a fusion among {', '.join(able)}")
    return [(kind, fusion)] * count


def _parse_own(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(settings, Mapping) for settings in value.values()):
        raise HeadsError(f"own is {value!r:.80}, expected settings by kind of head")
    return {kind: dict(settings) for kind, settings in value.items()}


def _complete(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting of a kind but those that are said of the ensemble."""
    if _FUSION in settings:
        raise HeadsError(f"{kind}.fusion is {settings[_FUSION]!r:.80}, expected it in members, e.g. {kind}:image")
    if _VIEWS in settings:
        raise HeadsError(f"{kind}.{_VIEWS} is {settings[_VIEWS]!r:.80}, expected it of the ensemble: {_VIEWS}")
    complete = asdict(config_class(kind).from_mapping(settings))
    return {name: value for name, value in complete.items() if name not in (_FUSION, _VIEWS)}
