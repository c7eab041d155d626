"""A run applied to perturbed pictures: the same head and threshold, another view of the same encoders."""

from __future__ import annotations

from dataclasses import replace

from heads.errors import HeadsError
from heads.runs.run import Run

__all__ = ["run_in_view"]


def run_in_view(run: Run, view: str) -> Run:
    """Return ``run`` as one that takes its pictures' vectors from ``view``; captions have no views.

    Raises
    ------
    HeadsError
        If the head takes nothing that is made of pictures.
    """
    producers = dict(run.record.producers)
    if set(producers) == {"text"}:
        raise HeadsError(f"view {view!r}: the head of {run.path} takes captions alone, and those have no views")
    for modality, producer in producers.items():
        if modality != "text":
            producers[modality] = replace(producer, selection=replace(producer.selection, view=view))
    return replace(run, record=replace(run.record, producers=producers))
