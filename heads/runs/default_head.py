"""Which head is fitted where none is named: the one that held best under views that it had not seen.

Reasons and figures: docs/decisions/0031-the-head-that-is-fitted.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heads.data.fusion import STRUCTURED
from heads.head.kinds import HEADS, config_class

__all__ = ["DEFAULT_HEAD", "MOST_COLUMNS", "name_head"]

DEFAULT_HEAD = "ensemble"
MOST_COLUMNS = 4096
"""Linear discriminants take the square of the columns in memory, and their cube in time."""
_NETWORK = "mlp"
_OF_ENSEMBLES = frozenset({"members", "invariant_to"})


def name_head(values: Mapping[str, Any], *, on_network: bool = False, n_columns: int = 0) -> dict[str, Any]:
    """Return settings with the head that is meant where they name none.

    Parameters
    ----------
    values : mapping
        As `heads.runs.fitting.parse_config` takes them.
    on_network : bool
        Whether something else was asked for that networks alone have, such as a device.
    n_columns : int
        Of the vectors, if that is known.

    Returns
    -------
    dict
        With ``head``: `DEFAULT_HEAD`, or ``mlp`` where a setting, a preset or a fusion of networks was given and
        nothing of ensembles, or where there are more than `MOST_COLUMNS`.
    """
    if "head" in values:
        return dict(values)
    if values.keys() & _OF_ENSEMBLES or any(name.partition(".")[0] in HEADS for name in values if "." in name):
        return {**values, "head": DEFAULT_HEAD}
    own = {"preset", *config_class(_NETWORK).__dataclass_fields__} - {"fusion"}
    if on_network or n_columns > MOST_COLUMNS or own & values.keys() or values.get("fusion") in STRUCTURED:
        return {**values, "head": _NETWORK}
    return {**values, "head": DEFAULT_HEAD}
