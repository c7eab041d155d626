"""The kernels are those of a GPU: they compile for some, without one, and none of them rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")

COMPILE = """
import json
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from featcache.pictures.card.blur_kernels import blur_columns, blur_rows
from featcache.pictures.card.kernels import make_colours, resample_columns, resample_rows
from featcache.pictures.card.philox import add_words

TAPS, RADIUS = {"MOST_TAPS": "constexpr"}, {"RADIUS": "constexpr"}
WEIGHTS, TABLE = {"weights": "*i32"}, {"table": "*i16"}
found = []
for capability in (75, 80, 89, 90, 100):
    for kernel, more, constants in [
        (make_colours, {}, {}),
        *((kernel, TAPS, {"MOST_TAPS": n}) for n in (1, 8, 64) for kernel in (resample_columns, resample_rows)),
        *((kernel, WEIGHTS | RADIUS, {"RADIUS": n}) for n in (1, 9) for kernel in (blur_columns, blur_rows)),
        (add_words, TABLE, {}),
    ]:
        source = ASTSource(kernel, {"orders": "*i64", **more}, constants)
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        floats = re.findall(r"[.](?:f16|bf16|f32|f64)\\b", made.asm["ptx"])
        found.append((f"{kernel.__name__} {constants} {capability}", len(made.asm["cubin"]), floats))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_kernel_compiles_for_gpus_and_is_of_integers(tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 5 * 12
    for name, n_bytes, floats in found:
        assert n_bytes > 1000 and floats == [], name
