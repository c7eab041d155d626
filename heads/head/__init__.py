"""What every kind of head shares."""

from heads.head.protocol import Head, Prediction

__all__ = ["Head", "Prediction"]
