"""A forward that may be compiled, and that runs as it is where that does not work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Forward"]

_LOGGER = logging.getLogger(__name__)


class Forward:
    """A function of tensors, compiled on its first call if that is asked for and possible.

    Parameters
    ----------
    function : callable
        A function from tensors to tensors by name.
    compile : bool
        Whether to hand it to ``torch.compile``.
    dynamic : bool
        Whether one compiled form serves all shapes; else every new shape is compiled anew.

    Attributes
    ----------
    fallback : str or None
        Why it runs uncompiled although it was to be compiled; also logged as a warning.
    """

    def __init__(self, function: Callable[..., Mapping[str, Any]], *, compile: bool, dynamic: bool) -> None:
        import torch

        self._function = function
        self._compiled: Callable[..., Mapping[str, Any]] | None = (
            torch.compile(function, dynamic=dynamic) if compile else None
        )
        self.fallback: str | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether a call still goes through the compiled form."""
        return self._compiled is not None

    def __call__(self, *tensors: Any) -> Mapping[str, Any]:
        """Run it."""
        import torch

        if self._compiled is not None:
            try:
                return self._compiled(*tensors)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # all that the compiler raises; an error of the function itself comes again
                self.fallback = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                self._compiled = None
                _LOGGER.warning("torch.compile failed, the encoder runs uncompiled: %s", self.fallback)
        return self._function(*tensors)
