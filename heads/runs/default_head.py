"""Which head is fitted where none is named: the one that held best under views that it had not seen.

Reasons and figures: docs/decisions/0031-the-head-that-is-fitted.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heads.data.fusion import STRUCTURED
from heads.head.kinds import config_class

__all__ = ["DEFAULT_HEAD", "name_head"]

DEFAULT_HEAD = "ensemble"
_NETWORK = "mlp"


def name_head(values: Mapping[str, Any], *, on_network: bool = False) -> dict[str, Any]:
    """Return settings with the head that is meant where they name none.

    Parameters
    ----------
    values : mapping
        As `heads.runs.fitting.parse_config` takes them.
    on_network : bool
        Whether something else was asked for that networks alone have, such as a device.

    Returns
    -------
    dict
        With ``head``: `DEFAULT_HEAD`, or ``mlp`` where a setting, a preset or a fusion of networks
        was given.
    """
    if "head" in values:
        return dict(values)
    own = {"preset", *config_class(_NETWORK).__dataclass_fields__} - {"fusion"}
    if on_network or own & values.keys() or values.get("fusion") in STRUCTURED:
        return {**values, "head": _NETWORK}
    return {**values, "head": DEFAULT_HEAD}
