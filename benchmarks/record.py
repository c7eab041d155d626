"""What every benchmark does alike: interleaved timing, a JSON record with its conditions, a table made from it."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = [
    "RESULTS",
    "Measure",
    "describe_conditions",
    "print_record",
    "ratios",
    "steady_rate",
    "time_rounds",
    "write_record",
]

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    *("featcache", "h5py", "numpy", "pillow", "simplejpeg", "torch", "transformers"),
    *("nvidia-nvjpeg-cu12", "nvidia-nvjpeg", "triton"),
    *("scikit-learn", "lightgbm", "pyarrow", "safetensors"),
)


@dataclass(frozen=True)
class Measure:
    """One line of a benchmark.

    Attributes
    ----------
    name : str
        What was measured, and against what.
    unit : str
        ``ratio``, ``s``, ``MB`` …
    values : tuple of float
        One a round.
    at_least, at_most : float
        The goal for the median, if there is one.
    note : str
        Absolute figures or conditions of this line.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Middle of the rounds."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.median >= self.at_least
        return above and (self.at_most is None or self.median <= self.at_most)


def steady_rate(times: Sequence[float], done: Sequence[int]) -> float:
    """Return the rate between a tenth and nine tenths of what was done, of which so much was done at these times."""
    first, last = (next(i for i, n in enumerate(done) if n >= share * done[-1]) for share in (0.1, 0.9))
    return (done[last] - done[first]) / (times[last] - times[first]) if last > first else float(done[-1])


def time_rounds(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    is_warm: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each call once a round, in turn, so that whatever else the machine does meets all of them alike.

    Parameters
    ----------
    calls : mapping of name to callable
        What to time.
    rounds : int
        How often.
    is_warm : bool
        Whether the callers saw to it that all is loaded and in caches. Otherwise there is a first round that is not
        counted.
    clock : callable
        What tells the time; that of the process alone for what one thread does on a machine that others share.

    Returns
    -------
    dict of name to list of float
        Seconds, one a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(1 if is_warm else 0, rounds + 1):
        for name in names if number % 2 else reversed(names):
            gc.collect()
            start = clock()
            calls[name]()
            elapsed = clock() - start
            if number:
                seconds[name].append(elapsed)
    return seconds


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, ...]:
    """Divide round by round."""
    return tuple(a / b for a, b in zip(numerator, denominator, strict=True))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpu() -> dict[str, str]:
    """Name the GPU, where a benchmark could have used one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def describe_conditions() -> dict[str, Any]:
    """Return the machine, and the versions that count."""
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **_gpu(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if name in installed},
    }


def write_record(
    name: str, measures: Sequence[Measure], *, setting: str, options: str = "", folder: Path = RESULTS
) -> Path:
    """Write ``results/<name>.json``: what was measured, where, and with what; returns its path.

    Parameters
    ----------
    name : str
        Of the benchmark.
    measures : sequence of Measure
        Its lines.
    setting : str
        What was compared with what, in a sentence or two.
    options : str
        Of the command, if it was run with some; they are in the file's name then.
    folder : Path
        Where to write.
    """
    lines = [asdict(m) | {"median": m.median, "rounds": len(m.values), "is_met": m.is_met} for m in measures]
    document = {
        "benchmark": name,
        "command": f"python -m benchmarks.bench_{name} {options}".rstrip(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "setting": setting,
        "conditions": describe_conditions(),
        "measures": lines,
    }
    folder.mkdir(exist_ok=True)
    words = "-".join("".join(char if char.isalnum() else " " for char in options).split())
    path = folder / f"{name}{'-' + words if words else ''}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def print_record(path: Path) -> None:
    """Print a record as a Markdown table: medians, the range of the rounds, goals."""
    record = json.loads(path.read_text(encoding="utf-8"))
    where = record["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    print(f"{record['setting']}\n")
    gpu = f"{where['gpu']} (CUDA {where['cuda']}), " if "gpu" in where else ""
    print(f"{gpu}{where['processor']}, {where['cores']} cores, load {where['load_average']}, {where['system']}")
    print(f"Python {where['python']}, {versions}; {record['when']}\n")
    print("| measure | median | range | goal | met | |\n| --- | --- | --- | --- | --- | --- |")
    for line in record["measures"]:
        goal = f"≥ {line['at_least']:g}" if line["at_least"] is not None else ""
        goal = f"≤ {line['at_most']:g}" if line["at_most"] is not None else goal
        met = {True: "yes", False: "**no**", None: ""}[line["is_met"]]
        unit = "" if line["unit"] == "ratio" else f" {line['unit']}"
        low, high = min(line["values"]), max(line["values"])
        print(
            f"| {line['name']} | {line['median']:.3g}{unit} | {low:.3g}–{high:.3g} | {goal} | {met} | {line['note']} |"
        )
