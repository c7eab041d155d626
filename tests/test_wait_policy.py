"""Threads of a head that wait go to sleep, those of an encoder after a few turns, and what the user has set stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from featcache.extraction.run import ExtractOptions, extract

from factories import FakeSpec, make_cache, read_manifest, write_bert, write_dataset

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
ROOT = Path(__file__).resolve().parents[1]
CODE = """
import os, sys

class Spy:
    def find_spec(self, name, *_):
        if name == "torch":
            print("set:", os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Spy())
import cli
sys.argv = sys.argv[1:]
getattr(cli, f"{sys.argv[0]}_main")()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    manifest = read_manifest(write_dataset(root / "data"))
    write_bert(root / "bert")
    specs = [FakeSpec("text", ("cls",)), FakeSpec("image")]
    extract(manifest, make_cache(root / "cache"), specs, options=ExtractOptions(device="cpu"))
    return root


def settings(words: str, cwd: Path, **own: str) -> str:
    """Start a command, and return what is set when it is about to load torch, with which the threads' runtime comes."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | own
    command = [sys.executable, "-c", CODE, *words.split()]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "set: " in done.stdout, done.stderr
    return done.stdout.rpartition("set: ")[2].strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "featcache extract data --cache new --text-model bert --image-model none",
        pytest.param(
            "featcache extract data --cache new --text-model bert --image-model none --device cpu",
            marks=pytest.mark.slow,
        ),
        pytest.param("featcache bench data --text-model bert --image-model none", marks=pytest.mark.slow),
    ],
)
def test_threads_of_an_encoder_turn_a_little_before_they_sleep_unless_the_user_has_set_something(
    project: Path, words: str
) -> None:
    assert settings(words, project) == "PASSIVE 1000"
    assert settings(words, project, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
    assert settings(words, project, GOMP_SPINCOUNT="7") == "None 7"


@pytest.mark.slow
def test_threads_of_a_head_sleep_unless_the_user_has_set_something(project: Path) -> None:
    words = "heads train cache --out run"
    assert settings(words, project) == "PASSIVE None"
    assert settings(words, project, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
