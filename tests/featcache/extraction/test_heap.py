import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

MEASURE = """
import json, os, sys
import numpy as np
from featcache.extraction.heap import keep_heap

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

if sys.argv[1] == "keep":
    keep_heap()
before = anonymous()
for _ in range(2):
    block = np.ones(100_000_000, np.uint8)
    del block
print(json.dumps({"kept": anonymous() - before, "thp": os.environ.get("THP_MEM_ALLOC_ENABLE"),
                  "torch": "torch" in sys.modules}))
"""


def run(what: str, **environment: str) -> dict[str, Any]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "THP_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, what], env=own | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_memory_stays_with_the_process() -> None:
    assert run("leave")["kept"] < 50e6
    kept = run("keep")
    assert kept["kept"] > 90e6
    assert kept["thp"] == "1"
    assert not kept["torch"]  # it reads the variable when it is loaded


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_what_the_environment_says_stays() -> None:
    limits = {"MALLOC_TRIM_THRESHOLD_": "100000", "MALLOC_MMAP_THRESHOLD_": "100000"}
    found = run("keep", THP_MEM_ALLOC_ENABLE="0", **limits)
    assert found["kept"] < 50e6
    assert found["thp"] == "0"
