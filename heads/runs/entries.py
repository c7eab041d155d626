"""What is put on record of a verdict: of which bytes, by which run and encoders, under which rule, when."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import featcache
from featcache import ExtractedPictures
from heads.files.chained_log import ChainedLog
from heads.runs.run import Run

__all__ = ["ENTRY_FORMAT", "Recorder", "log_lines"]

ENTRY_FORMAT = 2
_SAID = ("verdict", "reason", "p_ai", "p_ai_raw", "views", "novelty", "neighbours", "error", "stage")
"""What an entry takes over of a verdict; null where the verdict does not say it."""


@dataclass(frozen=True)
class Recorder:
    """Makes the entries of one command.

    Attributes
    ----------
    conditions : mapping
        What all of them have in common: command, operating point, prior, run, encoders, versions.
    """

    conditions: Mapping[str, Any]

    @classmethod
    def of(cls, run: Run, command: str, *, point: str | None = None, prior: float | None = None) -> Recorder:
        """Take down under which conditions a command judges; point and prior as for `Run.judge`."""
        encoders = {
            modality: {"fingerprint": chosen.fingerprint, "view": chosen.view, "outputs": list(chosen.outputs)}
            for modality, chosen in run.selections.items()
        }
        return cls(
            {
                "command": command,
                "point": run.point(point).to_json(),
                "prior": run.check_prior(prior),
                "run_digest": run.record.digest,
                "encoders": encoders,
                "versions": {"python": platform.python_version(), "featcache": featcache.__version__},
            }
        )

    def of_content(
        self, path: Path | None, image: bytes | None, caption: str | None, said: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the entry of a picture, a caption or both; a caption counts where the head looks at text."""
        digests = {
            "image_sha256": None if image is None else hashlib.sha256(image).hexdigest(),
            "caption_sha256": hashlib.sha256(caption.encode()).hexdigest() if caption and self._takes_text else None,
        }
        return self._entry({"path": None if path is None else str(path), **digests}, said)

    def of_row(self, pictures: ExtractedPictures, row: int | None, line: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry of a line of a scan; ``row`` is its row of the store, None if it has none."""
        samples = pictures.store.samples

        def digest(keys: NDArray[np.uint8]) -> str | None:
            return keys[row].tobytes().hex() if row is not None and keys[row].any() else None

        caption = digest(samples.text_key) if self._takes_text else None
        return self._entry(
            {"path": line["path"], "image_sha256": digest(samples.image_key), "caption_sha256": caption}, line
        )

    @property
    def _takes_text(self) -> bool:
        return "text" in self.conditions["encoders"]

    def _entry(self, of_what: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "format": ENTRY_FORMAT,
            "kind": "heads-verdict",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **_writable({**of_what, **{name: said.get(name) for name in _SAID}}),
            **self.conditions,
        }


def _writable(value: Any) -> Any:
    """Write what UTF-8 cannot hold with backslashes in all texts: lines of a log have no lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_writable(name): _writable(each) for name, each in value.items()}
    return [_writable(each) for each in value] if isinstance(value, list | tuple) else value


def log_lines(
    recorder: Recorder, pictures: ExtractedPictures, log: ChainedLog
) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """Return what appends the entries of a scan's lines to a log: first those of all pictures, in their order."""
    rows: Iterator[int | None] = chain(range(len(pictures)), repeat(None))

    def append(lines: Sequence[Mapping[str, Any]]) -> None:
        log.append([recorder.of_row(pictures, row, line) for line, row in zip(lines, rows, strict=False)])

    return append
