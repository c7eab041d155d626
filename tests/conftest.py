"""What holds for all tests: no example has a time to keep, and where there is no GPU, Triton interprets its kernels.

Triton looks at the variable when it is imported, so it is to be set before anything does.
"""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, settings

settings.register_profile("featcache", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("featcache")

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
