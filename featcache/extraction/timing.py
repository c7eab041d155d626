"""How long the plans of an extraction would take: a batch of each is prepared and encoded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.encoders.base import Encoder
from featcache.extraction.encoding.loaded import CPU_ROWS, EncoderKey, encoder_key
from featcache.extraction.planning.extraction_plan import ExtractionPlan
from featcache.extraction.planning.plan import Plan
from featcache.extraction.preparing.thread_reader import ThreadReader
from featcache.identity.terms import CONTENT_OF

__all__ = ["Timing", "time_batches"]


@dataclass(frozen=True)
class Timing:
    """What a batch of each plan, by its number, has shown: columns of each output, and seconds for the whole plan."""

    widths: Mapping[int, Mapping[str, int]]
    seconds: Mapping[int, float]


def time_batches(planned: ExtractionPlan) -> Timing:
    """Encode a batch of every plan, from all over the data set; the first forward of each only warms up."""
    options, captions = planned.extraction.options, planned.extraction.manifest.samples.caption
    widths: dict[int, Mapping[str, int]] = {}
    seconds: dict[int, float] = {}
    encoders: dict[EncoderKey, Encoder] = {}
    n_rows = options.batch_size or CPU_ROWS
    pictures = _prepare_pictures(planned)
    for number, plan in enumerate(planned.plans):
        if number in pictures:
            inputs, spent = pictures[number]
        else:
            chosen = _spread([plan], n_rows) if CONTENT_OF[plan.spec.modality] == "text" else []
            inputs, spent = [plan.spec.prepare(captions[row]) for row in chosen], 0.0
        if not inputs:
            continue
        key = encoder_key(plan.spec)
        if key not in encoders:
            encoders[key] = plan.spec.load(options.device)
        vectors = encoders[key].encode(inputs)
        started = time.perf_counter()
        encoders[key].encode(inputs)
        forward = (time.perf_counter() - started) / len(inputs)
        widths[number] = {name: int(vector.shape[1]) for name, vector in vectors.items()}
        seconds[number] = spent + forward * plan.n_todo
    return Timing(widths, seconds)


def _prepare_pictures(planned: ExtractionPlan) -> dict[int, tuple[list[Any], float]]:
    """Prepare some pictures for every plan that needs them: inputs, and its share of the seconds for all pictures."""
    extraction, table = planned.extraction, planned.scanned.table
    options = extraction.options
    numbers = [i for i, plan in enumerate(planned.plans) if CONTENT_OF[plan.spec.modality] == "image"]
    mine = [planned.plans[i] for i in numbers]
    rows = _spread(mine, options.batch_size or CPU_ROWS)
    if not rows:
        return {}
    products = tuple(number for number, plan in enumerate(mine) if plan.n_todo)
    recipe = extraction.recipe()
    readings = recipe.readings(table, extraction.manifest.samples, [(row, products) for row in rows])
    inputs: dict[int, list[Any]] = {product: [] for product in products}
    memory, started = options.picture_bytes, time.perf_counter()
    with ThreadReader(recipe, n_threads=options.threads, n_ahead=len(rows), memory=memory) as reader:
        for prepared in reader.prepare(readings):
            for product, pixels in prepared.inputs.items():
                inputs[product].append(pixels)
    seconds = (time.perf_counter() - started) / len(rows) * max(plan.n_todo for plan in mine)
    total = sum(plan.n_todo for plan in mine)
    return {numbers[p]: (inputs[p], seconds * mine[p].n_todo / total) for p in products}


def _spread(plans: Sequence[Plan], n_rows: int) -> list[int]:
    """Choose contents to do from all over the data set."""
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *(u.contents for plan in plans for u in plan.units)]))
    if not len(rows):
        return []
    chosen: list[int] = rows[np.unique(np.linspace(0, len(rows) - 1, n_rows).astype(np.int64))].tolist()
    return chosen
