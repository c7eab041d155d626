"""The networks of the fusions: small pure functions of stacked weights, trainable many at a time."""

from __future__ import annotations

from collections.abc import Mapping

from heads.data.fusion import STRUCTURED, fusion_modalities
from heads.mlp.fusions.base import Fusion, Parameter, Projection, affine
from heads.mlp.fusions.gated import GATED
from heads.mlp.fusions.layers import LAYERS
from heads.mlp.fusions.logit_mean import LOGIT_MEAN
from heads.mlp.fusions.mlb import MLB
from heads.mlp.fusions.rine import RINE
from heads.mlp.fusions.trunk import TRUNK

__all__ = ["Fusion", "Parameter", "Projection", "affine", "fusion_network"]

_NETWORKS: Mapping[str, Fusion] = {
    "logit-mean": LOGIT_MEAN,
    "gated": GATED,
    "mlb": MLB,
    "layers": LAYERS,
    "rine": RINE,
}


def fusion_network(fusion: str) -> Fusion:
    """Return the network of a key of `heads.data.fusion.FUSIONS`."""
    fusion_modalities(fusion)  # refuses an unknown one
    return _NETWORKS[fusion] if fusion in STRUCTURED else TRUNK
