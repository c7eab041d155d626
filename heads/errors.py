"""The errors that heads raises on purpose."""

from featcache import FeatcacheError

__all__ = ["HeadsError"]


class HeadsError(FeatcacheError):
    """A head, a run folder or a request to them breaks a rule that its user can put right."""
