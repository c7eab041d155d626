"""Every family of vision models from pictures to verdicts, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.families import FAMILIES
from tests.test_cli import fails, run

from factories import write_dataset

EXTRA: dict[str, tuple[str, ...]] = {
    "dinov3": ("--fit", "pad", "--image-size", "48"),
    "metaclip2": ("--fit", "squash", "--image-outputs", "projected,layers_mean:all"),
    "deit": ("--image-size", "64", "--resize", "torch"),
    "beit": ("--variant", "fp16"),
    "aimv2": ("--image-outputs", "layers_mean:all"),
    "naflex": ("--square-crop",),
}
"""What is asked for besides the model; each is asked for of some family."""
QUICK = ("dinov3", "naflex")
"""The others are tried in the slow suite."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("families") / "data", n_captions=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in FAMILIES]
)
def test_pictures_are_extracted_learnt_from_detected_and_verified(data: Path, tmp_path: Path, name: str) -> None:
    model, extra = FAMILIES[name].write(tmp_path / "model"), EXTRA.get(name, ())
    if "--variant" in extra:
        (model / "model.safetensors").rename(model / "model.fp16.safetensors")
    if name.startswith("metaclip2"):  # what a whole model's processor writes today
        own = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
        (model / "processor_config.json").write_text(json.dumps({"image_processor": own}), encoding="utf-8")
        (model / "preprocessor_config.json").unlink()
    words = ("extract", data, "--text-model", "none", "--image-model", model, "--device", "cpu", *extra)
    done = run("featcache", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = run("featcache", *words, cwd=tmp_path)
    assert "36 cached, 0 encoded" in again.stdout.replace("36 contents, ", ""), again.stdout

    checked = run("featcache", "verify", "--canary", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (canary,) = json.loads(run("featcache", "verify", "--canary", "--json", cwd=tmp_path).stdout)["canaries"]
    assert canary["n_checked"] > 0

    outputs = ("--image-outputs", "layers_mean:all") if "layers_mean:all" in " ".join(extra) else ()
    fusion = "layers" if outputs else "image"
    head = ("--set", "epochs=1", "--dim", "4") if outputs else ("--head", "linear")
    trained = run("heads", "train", "--fusion", fusion, *head, *outputs, "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    picture = ("--image", data.parent / "0-alpha.png", "--device", "cpu")
    verdict = run("heads", "detect", "run", *picture, "--json", cwd=tmp_path)
    assert verdict.returncode == 0, verdict.stderr
    assert json.loads(verdict.stdout)["verdict"] in ("ai", "real")
    scanned = run("heads", "scan", "run", data, "--out", "v.jsonl", "--device", "cpu", cwd=tmp_path)
    assert scanned.returncode == 0, scanned.stderr
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    (p_ai,) = [line["p_ai"] for line in lines if line["path"].endswith("/0-alpha.png")]
    assert p_ai == pytest.approx(json.loads(verdict.stdout)["p_ai"], abs=1e-4)


def test_a_model_that_is_none_of_these_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    model = FAMILIES["dinov3"].write(tmp_path / "model")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for kind, said in (
        ("dinov3_convnext", "use one of DINOv3's vision transformers"),
        ("swin", "expected one of aimv2"),
    ):
        (model / "config.json").write_text(json.dumps(config | {"model_type": kind}), encoding="utf-8")
        words = ("extract", data, "--text-model", "none", "--image-model", model, "--device", "cpu")
        fails(run("featcache", *words, cwd=tmp_path), 1, said)
