"""Names of the vectors of one forward, and the short ways to ask for several of them.

A stored output has one name, ``cls``, ``layers:4`` or ``layers_mean:4``. A request may also say ``layers:4-8-12``
(these three), ``layers:1..6`` (all from the first to the last) or ``layers:all``, and the same of ``layers_mean``:
`expand` turns it into names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from featcache.errors import FeatcacheError, did_you_mean

__all__ = [
    "CLASS_TOKENS",
    "PATCH_MEANS",
    "abbreviate",
    "check_names",
    "expand",
    "is_layer",
    "layer_family",
    "layer_name",
    "layer_number",
    "natural_order",
    "parse_outputs",
    "tell_pairs",
]

CLASS_TOKENS, PATCH_MEANS = "layers", "layers_mean"
"""Families of the outputs of blocks: the first token, and the mean of the tokens of patches."""
_FAMILIES = (CLASS_TOKENS, PATCH_MEANS)
_ALL = "all"
_MAX_NAMES = 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBER = "[1-9][0-9]{0,3}"
_SPAN = rf"{_NUMBER}(\.\.{_NUMBER})?"
_REQUEST = re.compile(rf"({'|'.join(_FAMILIES)}):({_ALL}|{_SPAN}(-{_SPAN})*)")
_PAIR = re.compile(rf"({'|'.join(_FAMILIES)}):({_NUMBER})-({_NUMBER})")
_STORED = re.compile(rf"({'|'.join(_FAMILIES)}):({_NUMBER})")


def layer_name(number: int, family: str = CLASS_TOKENS) -> str:
    """Return the name of the output of a block; the first block is 1."""
    return f"{family}:{number}"


def layer_number(name: str) -> int | None:
    """Return which block's output has this name; None if it is that of none."""
    found = _STORED.fullmatch(name)
    return int(found[2]) if found else None


def layer_family(name: str) -> str | None:
    """Return what of a block's output has this name, `CLASS_TOKENS` or `PATCH_MEANS`; None if it is that of none."""
    found = _STORED.fullmatch(name)
    return found[1] if found else None


def is_layer(name: str) -> bool:
    """Return whether this is the name of the output of a block."""
    return layer_number(name) is not None


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort names of outputs: those of blocks after all others, family by family, by number."""
    return tuple(sorted(names, key=lambda name: (layer_family(name) or "", layer_number(name) or 0, name)))


def parse_outputs(request: str | Iterable[str]) -> tuple[str, ...]:
    """Read a comma list, or several, of names, ``layers:…`` and ``layers_mean:…`` requests.

    Returns
    -------
    tuple of str
        Each once, in the order asked for; `expand` makes names of outputs of them.

    Raises
    ------
    FeatcacheError
        If a part is neither, or nothing is left.
    """
    texts = [request] if isinstance(request, str) else list(request)
    parts = [part.strip() for text in texts for part in text.split(",")]
    for part in parts:
        if not (_NAME.fullmatch(part) or _REQUEST.fullmatch(part)):
            raise FeatcacheError(
                f"output {part!r} is no name of a vector: expected names like cls, layers:4, layers:4-8-12, "
                "layers:1..6, layers:all or layers_mean:all, with commas between them"
            )
    if not parts or len(parts) > _MAX_NAMES:
        raise FeatcacheError(f"{len(parts)} outputs are named, expected 1 to {_MAX_NAMES}")
    return tuple(dict.fromkeys(parts))


def tell_pairs(request: str) -> tuple[str, ...]:
    """Return a sentence for each part that names two blocks and may be taken for all between them."""
    pairs = [found for part in request.split(",") if (found := _PAIR.fullmatch(part.strip()))]
    return tuple(
        f"{pair[0]} is blocks {pair[2]} and {pair[3]}; a range is {pair[1]}:{pair[2]}..{pair[3]}"
        for pair in pairs
        if int(pair[3]) > int(pair[2]) + 1
    )


def check_names(names: Sequence[str], *, owner: str) -> None:
    """Raise `FeatcacheError` unless these are names under which an encoder can store its outputs."""
    is_fine = all(_NAME.fullmatch(name) or is_layer(name) for name in names)
    if not names or not is_fine or len(set(names)) < len(names):
        raise FeatcacheError(
            f"{owner} has the outputs {list(names)!r}, expected one or more names like cls or layers:4, each once"
        )


def expand(
    request: str | Iterable[str],
    available: Iterable[str],
    *,
    owner: str = "the model",
    reasons: Mapping[str, str] | None = None,
    error: type[FeatcacheError] = FeatcacheError,
) -> tuple[str, ...]:
    """Turn a request into names of outputs.

    Parameters
    ----------
    request : str or iterable of str
        What is asked for, in the form that `parse_outputs` takes.
    available : iterable of str
        Names of the outputs that there are.
    owner : str
        What messages say has the outputs.
    reasons : mapping of name to str
        Why some are not available, for the message.
    error : type
        What is raised if there is none of a name.

    Returns
    -------
    tuple of str
        Each once, in the order asked for; ``layers:all`` ascending.

    Raises
    ------
    FeatcacheError
        If the request is malformed, or asks for what there is not.
    """
    there = natural_order(set(available))
    names: list[str] = []
    for part in parse_outputs(request):
        wanted = _layers(part, there) if _REQUEST.fullmatch(part) else [part]
        missing = [name for name in wanted if name not in there]
        if missing:
            why = f": {reasons[missing[0]]}" if reasons and missing[0] in reasons else ""
            near = did_you_mean(missing[0], there) if not why and ":" not in missing[0] else ""
            raise error(f"{owner} has no output {missing[0]!r}{why}; it has: {abbreviate(there) or 'none'}{near}")
        names += wanted
    return tuple(dict.fromkeys(names))


def _layers(part: str, there: Sequence[str]) -> list[str]:
    family, _, which = part.partition(":")
    if which == _ALL:
        return [name for name in there if layer_family(name) == family] or [part]
    numbers: list[int] = []
    for span in which.split("-"):
        first, _, last = span.partition("..")
        if last and int(last) < int(first):
            raise FeatcacheError(f"output {part!r} runs from layer {first} to {last}, expected the smaller first")
        numbers += range(int(first), int(last or first) + 1)
    return [layer_name(number, family) for number in numbers]


def abbreviate(names: Iterable[str]) -> str:
    """Return a comma list for people, short where there are many blocks: ``cls, pooled, layers:1..12``.

    What it says is again a request of the same outputs, layers by number.
    """
    words: list[str] = []
    for family, group in groupby(natural_order(set(names)), key=layer_family):
        members = list(group)
        words += members if family is None else [f"{family}:{_spans(map(layer_number, members))}"]
    return ", ".join(words)


def _spans(numbers: Iterable[int | None]) -> str:
    spans: list[list[int]] = []
    for number in filter(None, numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return "-".join(f"{s[0]}..{s[-1]}" if len(s) > 2 else "-".join(map(str, s)) for s in spans)
