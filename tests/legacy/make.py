"""Make the files beside this one: a cache, runs and ablations as a commit makes them, and what it reads off them.

Run once, with the code of the commit that README.md names; later ones must go on reading what it left. Everything is
made in one folder whose name ends up in the files, as that of any cache's data set does.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = Path("/tmp/featcache-legacy")
COMMIT = "ed1fdb2"
LEAST_MARGIN = 2e-4
LIBRARIES = ("torch", "transformers", "numpy", "h5py", "pillow", "lightgbm", "safetensors")

TEXT = ("--text-model", "models/bert", "--text-outputs", "cls,mean")
IMAGE = ("--image-model", "models/clip", "--image-outputs", "pooled,layers:all", "--device", "cpu")
PHOTOS = ("photos.csv", *IMAGE, "--on-orphan", "skip", "--seed", "4")
PARTS = (*PHOTOS, "--text-model", "none", "--shard")
VIEWS = ("--views", "clean,jpeg:40")
ALL = (*TEXT, "--spectral-outputs", "peaks,grid", *VIEWS)

_MLP = ("--dim", "8", "--set", "epochs=20", "--set", "lr=0.01")
_LINEAR = ("--head", "linear", "--set", "strengths=[0.001,0.1]")
RUNS = {
    "mlp-concat": _MLP,
    "mlp-gated": ("--fusion", "gated", *_MLP, "--loss", "joint"),
    "mlp-layers": ("--fusion", "layers", "--image-outputs", "layers:all", *_MLP),
    "mlp-views": ("--fusion", "image", *VIEWS, *_MLP),
    "logistic": ("--fusion", "image-spectral", *_LINEAR),
    "ridge": ("--text-outputs", "mean", *_LINEAR, "--set", "solver=ridge"),
    "lda": ("--fusion", "image", "--view", "jpeg:40", *_LINEAR, "--set", "solver=lda"),
    "gbdt": ("--head", "gbdt", "--fusion", "spectral", "--set", "rounds=4", "--set", "min_data_in_leaf=4"),
}
PSEUDO = ("--split", "test", "--threshold", "0.55")
GRID = ("--fusion", "concat,image", "--dim", "4,8", "--seeds", "2", "--set", "epochs=20", "--set", "lr=0.01")


def draw(number: int, kind: str) -> Image.Image:
    """Return a small picture: a gradient of two colours, on which each generator leaves a pattern of its own."""
    rng = np.random.default_rng(number)
    one, other = rng.uniform(40, 215, (2, 3))
    y, x = np.mgrid[0:26, 0:30]
    slope = (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) / 30 + 0.5
    pattern = {"real": 0 * x, "alpha": (x // 2 + y // 2) % 2, "beta": (x + y) % 6 // 3}[kind]
    noise = np.random.default_rng([number, len(kind)]).normal(0, 1, x.shape)
    levels = one + (other - one) * slope[..., None] + 18 * pattern[..., None] + noise[..., None]
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def write_data(folder: Path, n_captions: int = 20) -> None:
    """Write a table of pictures, and a tree of class folders in which most of them are again.

    In the table one picture is broken, one is there twice, one is not there at all, and one caption is missing.
    """
    pictures, rows = folder / "pictures", []
    pictures.mkdir()
    for number in range(n_captions):
        for kind in ("real", "alpha", "beta"):
            name = f"{number:02}-{kind}.{'png' if number % 4 else 'jpg'}"
            draw(number, kind).save(pictures / name, quality=85)
            rows.append([f"pictures/{name}", f"a red ball number {number}", int(kind != "real"), kind, f"g{number}"])
    (pictures / "05-beta.png").write_bytes((pictures / "05-beta.png").read_bytes()[:90])
    shutil.copyfile(pictures / "06-real.png", pictures / "07-real.png")
    rows[9][1] = ""
    rows.append(["pictures/gone.png", "a ball", 0, "real", "g99"])
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["image", "caption", "label_a", "generator", "group"], *rows])
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        for kind in ("real", "alpha"):
            (folder / "tree" / split / kind).mkdir(parents=True)
            for number in numbers:
                place = folder / "tree" / split / kind / f"{number:02}.png"
                shutil.copyfile(pictures / f"{number:02}-{kind}.png", place)
                place.with_suffix(".txt").write_text(f"a red ball number {number}\n", encoding="utf-8")
    draw(99, "real").save(folder / "tree" / "test" / "real" / "99.png")


def write_models(folder: Path) -> None:
    """Write the two encoders, of random weights."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sys.path.insert(0, str(HERE.parent))
    from factories import CLIP_PROCESSOR, write_bert

    write_bert(folder / "bert")
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    CLIPVisionModel(config).save_pretrained(folder / "clip")
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR))


def start(command: str, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    """Start ``featcache`` or ``heads`` in `WORK`."""
    code = f"import sys; from cli import {command}_main; sys.argv[0] = {command!r}; {command}_main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=WORK, env=environment, **streams)


def call(command: str, *arguments: str, codes: tuple[int, ...] = (0, 3)) -> bytes:
    """Run a command to its end; 3 means that something failed, which is meant here."""
    process = start(command, *arguments, stdout=subprocess.PIPE)
    output, _ = process.communicate()
    if process.returncode not in codes:
        raise SystemExit(f"{command} {' '.join(arguments)} ended with {process.returncode}")
    return output


def call_until(command: str, *arguments: str, pattern: str, count: int) -> None:
    """Start a command, and kill it when so many files more have come as fit a pattern."""
    n_before = len(list(WORK.glob(pattern)))
    process = start(command, *arguments)
    while len(list(WORK.glob(pattern))) < n_before + count:
        if process.poll() is not None:
            raise SystemExit(f"{command} {' '.join(arguments)} ended before it was killed")
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def make() -> None:
    """Run all commands."""
    for part in ("0/2", "1/2"):
        call("featcache", "extract", *PARTS, part)
    call("featcache", "extract", *PHOTOS, *ALL)
    call("featcache", "extract", "tree", *IMAGE, *ALL)
    begun = ("extract", *PARTS, "1/2", "--cache", "interrupted", "--batch-size", "1")
    call("featcache", "extract", *PARTS, "0/2", "--cache", "interrupted")
    call_until("featcache", *begun, pattern="interrupted/features/*/*/*.h5", count=2)
    for name, options in RUNS.items():
        call("heads", "train", "--dataset", "photos", *options, "--out", f"runs/{name}")
    call("heads", "pseudo-label", "runs/logistic", "--dataset", "photos", *PSEUDO, "--out", "runs/pseudo")
    ablate = ("ablate", "--dataset", "photos", *GRID, "--out")
    call("heads", *ablate, "ablation")
    call_until("heads", *ablate, "ablation-begun", pattern="ablation-begun/trials/*.safetensors", count=3)
    call("featcache", "export", "--dataset", "photos", "--split", "test", "--out", "test.npz")


def trim() -> None:
    """Take out what tells this machine (its name in what the killed one left, its system), and large plots."""
    for path in WORK.glob("interrupted/claims/*/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    for path in WORK.glob("interrupted/**/.tmp-*"):
        _, _, pid, process = path.name.split("-")
        path.rename(path.with_name(f".tmp-elsewhere-{pid}-{process}"))
    path = WORK / "ablation" / "ablation.json"
    document = json.loads(path.read_text())
    document["conditions"]["machine"]["platform"] = "Linux"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    for plot in WORK.glob("ablation/ablation.[ps][nv]g"):
        plot.unlink()


def digest(array: Any) -> str:
    """Return the sha256 of an array's bytes, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def describe_arrays(dataset: str) -> Iterator[dict[str, Any]]:
    """Say of each output of each encoder and view what the store reads."""
    from featcache import open_store

    store = open_store(WORK / "cache", dataset=dataset)
    for modality in store.modalities:
        for view in store.views(modality):
            for output in store.shard_set(store.select(modality).fingerprint, view).widths:
                selection = store.select(modality, outputs=output, view=view)
                X = store.arrays(selections={modality: selection}).features[modality]
                what = {"dataset": dataset, "modality": modality, "view": view, "output": output}
                yield what | {"shape": list(X.shape), "sha256": digest(X), "first": [round(float(v), 6) for v in X[0]]}


def describe_samples(dataset: str) -> dict[str, Any]:
    """Say of each sample what it is called, and what it is."""
    from featcache import open_store

    store = open_store(WORK / "cache", dataset=dataset)
    arrays = store.arrays()
    columns = {name: getattr(arrays, name).tolist() for name in ("sample_id", "split", "label_a", "label_b")}
    return columns | {"class_names": list(store.class_names)}


def describe_run(name: str) -> dict[str, Any]:
    """Say how a run scores, and what it answers; no answer may hang on the last digits."""
    told = {}
    for split in ("valid", "test"):
        scores = call("heads", "evaluate", f"runs/{name}", "--dataset", "photos", "--split", split, "--json")
        told[split] = json.loads(scores)
    call("heads", "predict", f"runs/{name}", "--dataset", "photos", "--out", "answers.csv")
    with (WORK / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (WORK / "answers.csv").unlink()
    p_ai = [float(row["p_ai"]) if row["p_ai"] else None for row in rows]
    for row in (row for row in rows if row["p_ai"]):
        margins = float(row["p_ai"]) - told["test"]["threshold"], float(row["p_alpha"]) - float(row["p_beta"])
        if min(map(abs, margins)) < LEAST_MARGIN:
            raise SystemExit(f"{name}: {row['sample_id']} is a close call, choose other settings: {margins}")
    return told | {"p_ai": [p and round(p, 6) for p in p_ai], "pred_b": [row["pred_b"] for row in rows]}


def describe_cache(name: str) -> dict[str, Any]:
    """Say what is in a cache and what is missing, as ``featcache status`` and ``verify`` do."""
    status = json.loads(call("featcache", "status", name, "--json"))
    report = json.loads(call("featcache", "verify", name, "--deep", "--json"))
    datasets = [
        {key: dataset[key] for key in ("name", "n_samples", "splits", "classes", "n_contents", "labels", "split_seed")}
        | {"coverage": dataset["coverage"]}
        | {"missing_parts": [division["missing"] for division in dataset["divisions"]]}
        for dataset in status["datasets"]
    ]
    return {
        "producers": {producer["modality"]: producer["fingerprint"] for producer in status["producers"]},
        "datasets": datasets,
        **{key: status[key] for key in ("n_missing", "n_failures", "n_failed_contents", "n_claims")},
        **{key: report[key] for key in ("is_sound", "n_shards", "n_rows", "n_bytes")},
    }


def record() -> None:
    """Write ``expected.json``, an entry a line."""
    expected = {
        "commit": COMMIT,
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in LIBRARIES}},
        "samples": {name: describe_samples(name) for name in ("photos", "tree")},
        "arrays": [told for name in ("photos", "tree") for told in describe_arrays(name)],
        "caches": {name: describe_cache(name) for name in ("cache", "interrupted")},
        "runs": {name: describe_run(name) for name in (*RUNS, "pseudo")},
        "trials": sorted(path.stem for path in WORK.glob("ablation-begun/trials/*.safetensors")),
    }
    lines = ",\n".join(f' "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in expected.items())
    (WORK / "expected.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def main() -> None:
    """Make everything, and put it beside this file."""
    WORK.mkdir()
    write_data(WORK)
    write_models(WORK / "models")
    make()
    trim()
    sys.path.insert(0, str(ROOT))
    record()
    for path in WORK.iterdir():
        if path.is_dir():
            shutil.copytree(path, HERE / path.name)
        else:
            shutil.copyfile(path, HERE / path.name)


if __name__ == "__main__":
    main()
