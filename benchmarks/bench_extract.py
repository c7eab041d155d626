"""How fast extraction is against the ways of others, against its own bounds, and what memory and exactness it has.

``python -m benchmarks.bench_extract [--rows paper,bound,…] [--rounds N] [--quick] [--folder DIR]`` makes its data and
models (of real size, random weights) under DIR: 2 GB; the rows ``gpu`` and ``gpu-torch`` need another 6 GB, and CUDA.

The row ``card`` does so too: it compares a GPU's decoder and resizing with Pillow, then times reading and extraction.
It is to be run by itself, takes pictures of FEATCACHE_TEST_MATERIAL, where that is set, and gives up what takes longer
than two minutes; what was measured until then is in its record. The row ``host`` needs no GPU, but 1.4 GB: it measures
what is left to the process of an extraction where a GPU does the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.contestant import Contestant
from benchmarks.extraction_data import write_data, write_models, write_tiny_data
from benchmarks.extraction_gpu import bench_gpu
from benchmarks.extraction_host import bench_host
from benchmarks.record import Measure, print_record, ratios, time_rounds, write_record

VIEWS = ("clean", "hflip", "jpeg:75", "jpeg:50", "blur:1", "noise:0.05", "brightness:0.5", "rescale:0.5")
_NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16")

SETTING = (
    "Data: 6 pictures of ~500 px (JPEG q90) and one caption of ~13 tokens a scene; BERT-base and CLIP ViT-B/32 with "
    "random weights, loaded before the clock starts; all sides have one torch thread a core. Ours: `extract` into an "
    "empty cache on disk, hashing included, each caption encoded once, padded to the longest of its batch. The paper's "
    "way: float32, batch 32, text padded to 128 and encoded for every picture, CLIPImageProcessorPil in the process. "
    "sentence-transformers: its encode (batch 32, sorted by length, padded to the longest, mean pooling) of the text "
    "of every picture or of the different ones, and transformers' pipeline for image features, batch 32. The others "
    "keep their vectors in memory. Text output: cls (mean with sentence-transformers); image output: pooled."
)


@dataclass(frozen=True)
class Setup:
    """What all rows share.

    Attributes
    ----------
    folder : Path
        For data and models.
    rounds : int
        How often.
    n_scenes : int
        Of the main data.
    is_quick : bool
        Whether to use tiny models and little data: to try the benchmark out.
    """

    folder: Path
    rounds: int
    n_scenes: int
    is_quick: bool

    def arguments(self) -> dict[str, Any]:
        """Return what every contestant gets; writes data and models the first time."""
        manifest = self.folder / "data" / "manifest.csv"
        if not manifest.exists():
            write_data(manifest.parent, self.n_scenes)
            write_models(self.folder / "models", small=self.is_quick)
        models = {name: str(self.folder / "models" / name) for name in ("text", "image")}
        return {**models, "manifest": str(manifest), "threads": len(os.sched_getaffinity(0))}

    def peers(self) -> Contestant:
        """Start the others, with the settings that they would have by themselves."""
        environment = {"OMP_WAIT_POLICY": None, "OMP_NUM_THREADS": None}
        return Contestant("benchmarks.extraction_peers:Peers", self.arguments(), environment)

    def ours(self) -> Contestant:
        """Start ours, with the settings that the command line makes."""
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "OMP_NUM_THREADS": None}
        return Contestant("benchmarks.extraction_ours:Ours", self.arguments(), environment)


def bench_paper(setup: Setup) -> list[Measure]:
    """Compare with the paper's way."""
    with setup.peers() as peers, setup.ours() as ours:
        ours.call("load", dtype="float32")
        calls: dict[str, Callable[[], object]] = {
            "paper": partial(peers.call, "paper"),
            "float32": partial(ours.call, "extract", dtype="float32"),
        }
        if has_native_bfloat16():
            calls["bfloat16"] = partial(ours.call, "extract", dtype="bfloat16")
            ours.call("load", dtype="bfloat16")
        seconds = time_rounds(calls, rounds=setup.rounds, is_warm=True)
        if "bfloat16" not in calls:
            # Emulated it takes long, and what it takes is no news.
            ours.call("load", dtype="bfloat16")
            once = time_rounds({"bfloat16": partial(ours.call, "extract", dtype="bfloat16")}, rounds=1, is_warm=True)
            seconds["bfloat16"] = [once["bfloat16"][0]]
    measures = []
    for dtype, goal in (("float32", 3.5), ("bfloat16", 6.0)):
        n = len(seconds[dtype])
        note = f"{_rates(setup, seconds, 'paper', dtype)}; text once a caption, padded to the longest"
        note += "" if dtype == "float32" or has_native_bfloat16() else "; this CPU emulates bfloat16, 1 round"
        values = ratios(seconds["paper"][:n], seconds[dtype])
        measures.append(Measure(f"the paper's way (float32) / ours {dtype}", "ratio", values, goal, note=note))
    return measures


def bench_sentences(setup: Setup) -> list[Measure]:
    """Compare with sentence-transformers and transformers' pipeline, each side in its fastest precision."""
    dtypes = ("float32", "bfloat16") if has_native_bfloat16() else ("float32",)
    with setup.peers() as peers, setup.ours() as ours:
        calls: dict[str, Callable[[], object]] = {}
        for dtype in dtypes:
            ours.call("load", dtype=dtype)
            calls[f"ours {dtype}"] = partial(ours.call, "extract", dtype=dtype)
            for name, unique in (("every", False), ("unique", True)):
                peers.call("sentences", dtype=dtype, unique=unique, n=2)
                calls[f"{name} {dtype}"] = partial(peers.call, "sentences", dtype=dtype, unique=unique)
        is_there = peers.call("has_sentence_transformers")
        seconds = time_rounds(calls, rounds=setup.rounds, is_warm=True)
    measures = []
    for name, what, goal in (("every", "text of every picture", 2.0), ("unique", "each text once", 1.3)):
        theirs, own = (_fastest(seconds, side) for side in (name, "ours"))
        note = f"{_rates(setup, seconds, theirs, own)}; {theirs.split()[1]} against {own.split()[1]}"
        note += "" if is_there else "; not installed: what its encode does, done with transformers"
        values = ratios(seconds[theirs], seconds[own])
        measures.append(Measure(f"sentence-transformers, {what} / ours", "ratio", values, goal, note=note))
    return measures


def _fastest(seconds: Mapping[str, list[float]], side: str) -> str:
    names = [name for name in seconds if name.startswith(side)]
    return min(names, key=lambda name: statistics.median(seconds[name]))


def bench_bound(setup: Setup) -> list[Measure]:
    """Compare an extraction on a CPU with its stages alone, which share the cores."""
    values, notes, products = [], [], []
    with setup.ours() as ours:
        ours.call("load", dtype="float32")
        for _ in range(setup.rounds):
            forward = ours.call("forward", dtype="float32", seconds=0.1 if setup.is_quick else 4.0)
            read = ours.call("read", dtype="float32")
            whole = ours.call("extract", dtype="float32")
            values.append((forward + read) / whole)
            notes.append((forward, read, whole))
            products.append(ours.call("multiply", dtype="float32", seconds=0.1 if setup.is_quick else 2.0) / whole)
    forward, read, whole = (statistics.median(part) for part in zip(*notes, strict=True))
    note = f"float32; forward {forward:.2f} s, reading on all cores {read:.2f} s, whole {whole:.2f} s"
    name = "multiplications alone, at the rate of one large product / end-to-end, CPU"
    why = "what no code that multiplies the same numbers can be faster than, 1 at best"
    return [
        Measure("end-to-end / bound 1/(1/forward + 1/decode), CPU", "ratio", tuple(values), 0.95, note=note),
        Measure(name, "ratio", tuple(products), note=why),
    ]


def bench_errors(setup: Setup) -> list[Measure]:
    """Compare stored vectors with float32."""
    n = 12 if setup.is_quick else 72
    with Contestant("benchmarks.extraction_exactness:Exactness", setup.arguments()) as exactness:
        found = exactness.call("errors", dtype="bfloat16", n=n)
    measures = []
    for modality, errors in found.items():
        for kind, what, goal in (("storage", "float32, stored as float16", 1e-3), ("compute", "bfloat16", None)):
            by_output = errors[kind]
            note = ", ".join(f"{name} {error:.2g}" for name, error in by_output.items())
            note += f"; linear head: {errors['head'][kind == 'compute']:.1%} of predictions unchanged"
            values = tuple(by_output.values())
            line = f"relative error after centring, {modality}, {what} (worst output)"
            measures.append(Measure(line, "ratio", (max(values),), at_most=goal, note=f"{n} samples; {note}"))
    return measures


def bench_views(setup: Setup) -> list[Measure]:
    """Extract under one view and under eight."""
    n = 6 if setup.is_quick else 24
    log = str(setup.folder / "readings")
    with setup.ours() as ours:
        ours.call("load", dtype="float32")
        milliseconds = ours.call("view_milliseconds", views=VIEWS, n=n)
        one, eight = [], []
        for _ in range(setup.rounds):
            one.append(ours.call("views", dtype="float32", views=VIEWS[:1], n=n, log=log))
            eight.append(ours.call("views", dtype="float32", views=VIEWS, n=n, log=log))
    more = eight[0]["readings"] - one[0]["readings"]
    note = ", ".join(f"{name} {spent:.1f}" for name, spent in milliseconds.items())
    seconds = [tuple(run["seconds"] for run in runs) for runs in (eight, one)]
    return [
        Measure("8 views: forwards a picture", "", (eight[0]["forwards"],), 8, 8, note="1 under one view"),
        Measure("8 views: readings more than under one view", "", (more,), at_most=0, note="a picture is read once"),
        Measure("8 views / 1: time", "ratio", ratios(*seconds), note=f"ms a picture and core: {note}"),
    ]


def bench_memory(setup: Setup) -> list[Measure]:
    """Extract few and many tiny contents with tiny encoders, and look at the memory all the while."""
    few, many = (200, 1000) if setup.is_quick else (1000, 100_000)
    text, image = write_models(setup.folder / "tiny-models", small=True)
    found = {}
    for n in (few, many):
        manifest = write_tiny_data(setup.folder / f"tiny-{n}", n)
        command = [sys.executable, "-m", "benchmarks.extraction_memory", str(manifest), str(text), str(image)]
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found[n] = json.loads(done.stdout.splitlines()[-1])
        shutil.rmtree(manifest.parent)
    note = "; ".join(f"{n:,}: {f['before']:.0f} MB before, peak {f['peak']:.0f} MB" for n, f in found.items())
    value = found[many]["peak"] / found[few]["peak"]
    name = f"peak RssAnon, {few:,} → {many:,} samples (tiny encoders)"
    return [Measure(name, "ratio", (value,), at_most=1.1, note=note)]


def has_native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return any(name in flags for name in _NATIVE_BFLOAT16)


def _rates(setup: Setup, seconds: Mapping[str, list[float]], *names: str) -> str:
    n = 6 * setup.n_scenes
    return ", ".join(f"{name} {n / statistics.median(seconds[name]):.1f} pictures/s" for name in names)


ROWS: dict[str, Callable[[Setup], list[Measure]]] = {
    "paper": bench_paper,
    "sentences": bench_sentences,
    "bound": bench_bound,
    "errors": bench_errors,
    "views": bench_views,
    "memory": bench_memory,
}
"""What a CPU can do."""

GPU_ROWS: dict[str, Literal["pillow", "torch"]] = {"gpu": "pillow", "gpu-torch": "torch"}
"""What needs a GPU, by how pictures are resized."""


def _bench_gpu(setup: Setup, *, resize: Literal["pillow", "torch"]) -> list[Measure]:
    return bench_gpu(setup.folder, resize=resize, is_quick=setup.is_quick)


def _bench_host(setup: Setup) -> list[Measure]:
    return bench_host(setup.folder, rounds=setup.rounds, is_quick=setup.is_quick)


def _bench_card(setup: Setup) -> Iterator[Measure]:
    from benchmarks.extraction_card import bench_card  # needs Triton

    return bench_card(setup.folder, is_quick=setup.is_quick)


def main() -> None:
    """Run the rows that are asked for, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=16, help="of the main data: many cores want more than 16")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-extract-", dir=options.folder))
    setup = Setup(folder, options.rounds, 2 if options.quick else options.scenes, options.quick)
    rows: dict[str, Callable[[Setup], Iterable[Measure]]] = {**ROWS, "card": _bench_card, "host": _bench_host}
    rows |= {name: partial(_bench_gpu, resize=resize) for name, resize in GPU_ROWS.items()}
    native = "multiplies" if has_native_bfloat16() else "emulates"
    said = "" if options.rows == ",".join(ROWS) else f"--rows {options.rows}"
    said += "" if options.scenes == parser.get_default("scenes") else f" --scenes {options.scenes}"
    try:
        measures: list[Measure] = []
        record = partial(write_record, "extract", measures, setting=f"{SETTING} This CPU {native} bfloat16.")
        for name in options.rows.split(","):
            for measure in rows[name](setup):
                measures.append(measure)
                # After each: what was measured outlives a row that fails, and a limit of time.
                written = record(options="--quick", folder=setup.folder) if setup.is_quick else record(options=said)
        print_record(written)
    finally:
        shutil.rmtree(setup.folder)


if __name__ == "__main__":
    main()
