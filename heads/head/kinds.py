"""Which kinds of heads there are, and what each can do; loads no framework until a kind is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from heads.data.tasks import Task
from heads.errors import HeadsError
from heads.head.protocol import Head

__all__ = [
    "HEADS",
    "HeadKind",
    "config_class",
    "differs_by_seed",
    "find_kind",
    "head_class",
    "is_head_file",
    "make_head",
]


@dataclass(frozen=True)
class HeadKind:
    """What is known of a kind of heads before its package is loaded.

    Attributes
    ----------
    package, head, config : str
        The package, and the names of the class of the heads and of their config there.
    is_network : bool
        Whether the heads are networks: those have a fusion of their own, a loss, presets, hidden units and a learning
        rate, and are trained on a device within a bound of memory.
    fits_packs : bool
        Whether many heads are trained in one pass over the rows (`heads.mlp.engine.fit_pack`).
    shares_parts : bool
        Whether heads of several parts of the rows can be fitted together, each as if it were alone: what parts share
        is read once (`heads.linear.head.LinearHead.fit_parts`).
    is_random : bool
        Whether heads differ from seed to seed.
    has_members : bool
        Whether the heads are made of heads of other kinds: a setting ``KIND.name`` is one of these, columns, device and
        memory are handed on to them, and their config tells whether they are random.
    former : mapping
        Settings that early heads and ablations under way do not state, and what they were then.
    """

    package: str
    head: str
    config: str
    is_network: bool = False
    fits_packs: bool = False
    shares_parts: bool = False
    is_random: bool = True
    has_members: bool = False
    former: Mapping[str, Any] = field(default_factory=dict)


HEADS: Mapping[str, HeadKind] = {
    "mlp": HeadKind("heads.mlp", "MlpHead", "MlpConfig", is_network=True, fits_packs=True, former={"components": 0}),
    "linear": HeadKind("heads.linear", "LinearHead", "LinearConfig", shares_parts=True, is_random=False),
    "lda": HeadKind("heads.lda", "LdaHead", "LdaConfig", is_random=False),
    "gbdt": HeadKind("heads.gbdt", "GbdtHead", "GbdtConfig"),
    "ensemble": HeadKind("heads.ensemble", "EnsembleHead", "EnsembleConfig", has_members=True),
}
_FILE = re.compile(
    r"(member-(0|[1-9]\d?)\.)?(head\.json|(weights|components)\.safetensors|model-(0|[1-9]\d{0,4})\.txt)"
)


def find_kind(name: str) -> HeadKind:
    """Return a kind of head; raise if there is none of this name."""
    if name not in HEADS:
        raise HeadsError(f"unknown kind of head {name!r:.80}, expected one of {', '.join(HEADS)}")
    return HEADS[name]


def head_class(name: str) -> type[Head]:
    """Import and return the class of a kind of head."""
    kind = find_kind(name)
    return cast("type[Head]", getattr(import_module(kind.package), kind.head))


def config_class(name: str) -> Any:
    """Import and return the config of a kind of head, a dataclass."""
    kind = find_kind(name)
    return getattr(import_module(kind.package), kind.config)


def make_head(name: str, tasks: Sequence[Task], config: Any, **options: Any) -> Head:
    """Return a head of a kind that is to be fitted; ``options`` are those that its class takes beside the config."""
    build: Any = head_class(name)
    head: Head = build(tasks, config, **options)
    return head


def differs_by_seed(name: str, settings: Mapping[str, Any]) -> bool:
    """Return whether heads of a kind with these settings differ from seed to seed."""
    kind = find_kind(name)
    if not kind.has_members:
        return kind.is_random
    named = {key: settings[key] for key in ("members",) if key in settings}
    return bool(config_class(name).from_mapping(named).is_random)


def is_head_file(name: str) -> bool:
    """Whether a head of some kind writes a file of this name."""
    return _FILE.fullmatch(name) is not None
