"""The row of the benchmark that needs a GPU runs as a whole, with one that is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from contextlib import ExitStack, nullcontext
from unittest import mock

import torch
from benchmarks import bench_extract, extraction_card
from benchmarks.extraction_card import _Bench
from featcache.extraction.options import ExtractOptions
from featcache.extraction.preparing import find_card
from featcache.extraction.preparing.card import Card
from featcache.extraction.preparing.card_lane import CardLane

from cards import FakeCardDecoder, FakeCardResizer, FakePerturber


class OnCpu(_Bench):
    device = torch.device("cpu")

    @property
    def decoder(self):
        return FakeCardDecoder(name="nvjpeg")

    def options(self, decoder):
        return ExtractOptions(device="cpu", decoder="card" if decoder == "auto" else decoder, processes=True, workers=2)


look = find_card.find_nvjpeg


def find(recipe, _):
    decoder = FakeCardDecoder(name="nvjpeg") if find_card.find_nvjpeg is look else None
    made = {i: recipe.products[i][1].prepare for i in Card.products_of(recipe)}
    resizers = {i: FakeCardResizer(prepare, name="triton") for i, prepare in made.items()}
    return Card(recipe, *[CardLane(decoder, resizers, FakePerturber())] * 2)


reader = "featcache.extraction.preparing.reader"
instead = {
    "benchmarks.card_equality.CardResizer": lambda way, _: FakeCardResizer(way.pixels),
    "benchmarks.extraction_card._Bench": OnCpu,
    "featcache.extraction.preparing.find_card.find_card": find,
    f"{reader}.find_card": find,
    f"{reader}.is_cuda": lambda _: True,
    "featcache.extraction.planning.checks.check_card": lambda *_: None,
    "featcache.pictures.decoders._what_a_card_lacks": lambda: "",
    "featcache.extraction.preparing.card_lane.CardLane.working": lambda _: nullcontext(),
    "benchmarks.bench_extract.shutil": mock.Mock(),  # the record is read afterwards
    "torch.cuda.is_available": lambda: True,
    "torch.cuda.get_device_name": lambda: "made up",
    "torch.cuda.synchronize": lambda: None,
    "torch.cuda.stream": lambda _: nullcontext(),
    "torch.cuda.Stream": type("Stream", (), {}),
}
with ExitStack() as stack:
    for name, each in instead.items():
        stack.enter_context(mock.patch(name, each))
    bench_extract.main()
"""
SMI = "#!/bin/sh\nwhile sleep 0.1; do echo 7; done\n"


@pytest.mark.slow
def test_every_part_is_measured(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(SMI)
    smi.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, ROOT / "tests", *sys.path])),
    }
    environment.pop("FEATCACHE_TEST_MATERIAL", None)
    command = [sys.executable, "-c", PROGRAM, "--rows", "card", "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = tmp_path.glob("bench-extract-*/extract-quick.json")
    measures = json.loads(record.read_text(encoding="utf-8"))["measures"]
    names = [measure["name"] for measure in measures]
    assert not [(measure["name"], measure["note"]) for measure in measures if "failed" in measure["name"]]
    assert len(names) == len(set(names)) >= 24
    unequal = next(measure for measure in measures if "other pixels than Pillow's" in measure["name"])
    assert unequal["is_met"] and "same" in unequal["note"]
    assert {measure["median"] for measure in measures if "pictures by the card" in measure["name"]} == {240, 120}
