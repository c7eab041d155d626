"""The networks of the fusions: small pure functions of stacked weights, trainable many at a time."""

from heads.mlp.fusions.base import Fusion, Parameter, Projection
from heads.mlp.fusions.registry import fusion_network

__all__ = ["Fusion", "Parameter", "Projection", "fusion_network"]
