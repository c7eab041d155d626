"""The errors that heads raises on purpose."""

from featcache import FeatcacheError

__all__ = ["HeadsError", "InputError"]


class HeadsError(FeatcacheError):
    """A head, a run folder or a request to them breaks a rule that its user can put right."""


class InputError(HeadsError, ValueError):
    """What a classifier was given cannot be fitted or judged; scikit-learn expects a `ValueError` then."""
