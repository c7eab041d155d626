"""Anonymous memory of an extraction and of all processes that it starts: ``… MANIFEST TEXT_MODEL IMAGE_MODEL``."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from featcache.cache.folder import Cache, Defaults
from featcache.dataset.manifest import Manifest
from featcache.encoders.base import EncoderSpec
from featcache.encoders.model_folder import resolve_model
from featcache.encoders.text import TextSpec
from featcache.encoders.vision import ImageSpec
from featcache.extraction.heap import keep_heap, trim_heap
from featcache.extraction.run import ExtractOptions, extract

_EVERY_SECONDS = 0.02


class _Watch(threading.Thread):
    """Looks at this process and its descendants again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous_mb("self"))
            time.sleep(_EVERY_SECONDS)


def anonymous_mb(process: str) -> float:
    """Return RssAnon of a process and its descendants in MB (10^6)."""
    total = 0.0
    with suppress(OSError, StopIteration):
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        total += int(next(line for line in status if line.startswith("RssAnon")).split()[1]) * 1.024e-3
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            total += sum(anonymous_mb(child) for child in children.read_text().split())
    return total


def main() -> None:
    """Extract, and print what it took."""
    keep_heap()
    manifest_path, text, image = sys.argv[1:]
    watch = _Watch()
    watch.start()
    manifest = Manifest.from_source(manifest_path)
    specs: list[EncoderSpec] = [TextSpec(resolve_model(text)), ImageSpec(resolve_model(image))]
    for spec in specs:
        spec.load("cpu")
    read = anonymous_mb("self")
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache.open_or_create(Path(folder) / "cache", Defaults("float32", "float16"))
        # Threads: that processes hash many files and not few is no growth with them.
        options = ExtractOptions(device="cpu", processes=False)
        result = extract(manifest, cache, specs, options=options, announce=lambda _: trim_heap())
    assert not result.n_failed
    print(json.dumps({"before": read, "peak": watch.peak, "n": result.n_encoded}))


if __name__ == "__main__":
    main()
