"""Finding model files: local folders, and the hub's real client against a hub that runs on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from featcache.encoders.model_folder import ModelFolder, resolve_model
from featcache.errors import ModelError

COMMIT = "c0ffee" + "0" * 34


def write_model(folder: Path, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 4, "_name_or_path": "x"}))
    (folder / weights).write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


class _Hub(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        type(self).asked.append(self.path)
        files = sorted(p.name for p in self.folder.iterdir())
        if match := re.match(r"/api/models/org/name(?:/revision/(\w+))?(?:\?|$)", self.path):
            if match[1] not in (None, "main", "v1", COMMIT):
                return self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
            info = {"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            return self._send(200, json.dumps(info).encode(), body)
        if match := re.match(rf"/api/models/org/name/tree/{COMMIT}", self.path):
            tree = [{"type": "file", "path": f, "size": 1, "oid": "0"} for f in files]
            return self._send(200, json.dumps(tree).encode(), body)
        if (match := re.match(rf"/org/name/resolve/{COMMIT}/([\w.]+)$", self.path)) and match[1] in files:
            data = (self.folder / match[1]).read_bytes()
            etag = hashlib.sha256(data).hexdigest()
            return self._send(200, data, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        return self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def _send(self, code: int, data: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    """Serve ``tmp_path/hub`` as the model org/name, and point the real hub client at it."""
    from huggingface_hub import constants

    handler = type("Hub", (_Hub,), {"folder": tmp_path / "hub", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, variant: str | None = None) -> ModelFolder:
    import huggingface_hub
    from huggingface_hub import constants

    real = huggingface_hub.snapshot_download

    def download(name: str, **options: object) -> str:
        return real(name, endpoint=constants.ENDPOINT, cache_dir=tmp_path / "hub-cache", **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return resolve_model(model, variant=variant)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["org/name", "org/name@v1", f"org/name@{COMMIT}"])
def test_a_hub_model_comes_with_the_commit_its_bytes_came_from(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    write_model(tmp_path / "hub")
    found = fetch(model, tmp_path, monkeypatch)
    assert (found.name, found.revision) == ("org/name", COMMIT)
    assert found.weight_files[0].read_bytes() == b"weights" and found.uses_safetensors
    assert found.source() == {"model": "org/name", "revision": COMMIT, "path": None}


def test_pickled_weights_are_not_even_fetched_where_there_are_safetensors(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "hub")
    (tmp_path / "hub" / "pytorch_model.bin").write_bytes(b"pickle")
    (tmp_path / "hub" / "modeling.py").write_text("print('never')")
    found = fetch("org/name", tmp_path, monkeypatch)
    assert sorted(p.name for p in found.path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert not any("pytorch_model" in path for path in hub.asked)


def test_weights_that_exist_only_as_bin_are_fetched(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "hub", "pytorch_model.bin")
    found = fetch("org/name", tmp_path, monkeypatch)
    assert found.weight_files[0].name == "pytorch_model.bin" and not found.uses_safetensors


def test_weights_of_open_clip_that_exist_only_as_bin_are_fetched(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "hub", "open_clip_pytorch_model.bin")
    (folder / "config.json").unlink()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    found = fetch("org/name", tmp_path, monkeypatch)
    assert found.model_type == "open_clip"
    assert found.weight_files[0].name == "open_clip_pytorch_model.bin" and not found.uses_safetensors


@pytest.mark.slow
@pytest.mark.parametrize("model", ["org/name@nosuch", "org/other"])
def test_what_the_hub_does_not_have_is_one_clear_error(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    write_model(tmp_path / "hub")
    with pytest.raises(ModelError, match=r"is no folder here and could not be fetched.*local folder works without"):
        fetch(model, tmp_path, monkeypatch)


def test_a_hub_that_does_not_answer_is_one_warning_and_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    client = logging.getLogger("huggingface_hub.utils._http")
    handler = logging.StreamHandler(sys.stdout)
    client.addHandler(handler)

    def download(*_: object, **__: object) -> str:
        for said in ("'no name' thrown while requesting GET x", "Retrying in 1s", "Rate limited. Waiting 9s"):
            client.warning(said)
        raise LocalEntryNotFoundError("not in the cache") from ConnectionError("no name")

    monkeypatch.setattr("featcache.files.hub._why_nothing_answers", lambda endpoint: "")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ModelError, match="could not be fetched from the hub: no name; a local folder works without"):
        resolve_model("org/name")
    client.removeHandler(handler)
    said = "the model hub does not answer: trying again for half a minute\nRate limited. Waiting 9s\n"
    assert capsys.readouterr().out == said and not client.filters


def test_where_nothing_answers_it_is_told_soon_and_what_is_here_is_taken(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    here = write_model(tmp_path / "hub-cache" / "models--org--name" / "snapshots" / COMMIT)
    asked = list[str]()
    monkeypatch.setattr("featcache.files.hub.urlsplit", lambda url: asked.append(url) or urlsplit(url))
    monkeypatch.setattr("featcache.files.hub.getproxies", dict)
    monkeypatch.setattr("featcache.files.hub._WAITS", (0.0,))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert fetch(f"org/name@{COMMIT}", tmp_path, monkeypatch).path == here and len(asked) == 1
        with pytest.raises(ModelError, match=r"not be fetched from the hub: nothing answers at 127\.0\.0\.1:\d+ \("):
            resolve_model(f"org/other@{COMMIT}")


def test_only_the_weights_of_a_variant_are_fetched(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "hub")
    (tmp_path / "hub" / "model.fp16.safetensors").write_bytes(b"half")
    found = fetch("org/name", tmp_path, monkeypatch, variant="fp16")
    assert sorted(p.name for p in found.path.glob("model*")) == ["model.fp16.safetensors"]
    assert found.weight_files[0].read_bytes() == b"half" and found.source()["variant"] == "fp16"


def test_a_variant_is_another_file_of_the_same_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    with pytest.raises(ModelError, match=r"has no model\.fp16\.safetensors and no pytorch_model\.fp16\.bin in"):
        resolve_model(str(folder), variant="fp16")
    (folder / "model.fp16.safetensors").write_bytes(b"half")
    plain, half = resolve_model(str(folder)), resolve_model(str(folder), variant="fp16")
    assert half.weight_files == (half.path / "model.fp16.safetensors",) and half.uses_safetensors
    assert half.document()["weights"] != plain.document()["weights"]
    assert half.source() == plain.source() | {"variant": "fp16"} and "variant" not in plain.source()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors and .*; it has others: --variant fp16$"):
        resolve_model(str(folder))
    (folder / "model.safetensors").write_bytes(b"half")
    assert resolve_model(str(folder)).document() == half.document()  # the bytes tell producers apart, not their name
    index = {"weight_map": {"a": "model.bf16-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.bf16.json").write_text(json.dumps(index))
    (folder / "model.bf16-00001-of-00001.safetensors").write_bytes(b"sharded")
    assert resolve_model(str(folder), variant="bf16").weight_files[0].read_bytes() == b"sharded"
    for word in ("", "../x", "a.b", "a/b"):
        with pytest.raises(ModelError, match="is no word in a file's name"):
            resolve_model(str(folder), variant=word)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_in_place_of_weights_says_that_they_were_not_downloaded(tmp_path: Path, file: str) -> None:
    folder = write_model(tmp_path / "m", file)
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(ModelError, match=rf"^model 'm': .*/{file} is a pointer of git-LFS, .*: run 'git lfs pull' in"):
        resolve_model(str(folder))


def test_what_is_said_of_pictures_is_found_beside_what_is_said_of_texts_too(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json"):
        _ = resolve_model(str(folder)).processor_configs
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
    with pytest.raises(ModelError, match=r"and its processor_config\.json no image_processor"):
        _ = resolve_model(str(folder)).processor_configs
    nested = {"image_processor": {"size": 3}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert resolve_model(str(folder)).processor_configs == (nested,)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 4}))
    assert resolve_model(str(folder)).processor_configs == ({"size": 4}, nested)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
    assert resolve_model(str(folder)).processor_configs == ({"size": 4},)


def test_the_same_bytes_under_another_name_are_the_same_model(tmp_path: Path) -> None:
    a, b = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    config = json.loads((b / "config.json").read_text()) | {"_name_or_path": "y", "transformers_version": "9"}
    (b / "config.json").write_text(json.dumps(config))
    one, two = resolve_model(str(a)), resolve_model(str(b))
    assert one.document() == two.document()
    assert one.settings_digest("config.json") == two.settings_digest("config.json")
    (b / "model.safetensors").write_bytes(b"other")
    assert resolve_model(str(b)).document()["weights"] != one.document()["weights"]


def test_weights_in_several_files_are_all_part_of_the_identity(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "part-1.safetensors").write_bytes(b"1")
    with pytest.raises(ModelError, match=r"names 'part-2\.safetensors', which is not in"):
        resolve_model(str(folder))
    (folder / "part-2.safetensors").write_bytes(b"2")
    before = resolve_model(str(folder)).document()["weights"]
    (folder / "part-2.safetensors").write_bytes(b"3")
    assert resolve_model(str(folder)).document()["weights"] != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("["), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors and no pytorch_model.bin"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, damage: object, message: str) -> None:
    folder = write_model(tmp_path / "m")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        resolve_model(str(folder))


@pytest.mark.parametrize("model", ["", "a/b/c", "../x", "/no/such/folder", "na me", "org/name\n"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused_without_asking_anybody(model: str) -> None:
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        resolve_model(model)


def test_the_names_of_its_weights_tell_what_a_model_has_before_any_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    parts = {"1.safetensors": "vit.encoder.weight", "2.safetensors": "vit.pooler.dense.weight"}
    for file, name in parts.items():
        save_file({name: np.zeros((2, 3), np.float32)}, folder / file)
    index = {"weight_map": {name: file for file, name in parts.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = resolve_model(str(folder))
    assert found.parameters == set(parts.values())
    assert found.may_have("pooler.") and found.may_have("vit.") and not found.may_have("ooler.")
    assert not found.may_have("visual_projection.")
    torch = resolve_model(str(write_model(tmp_path / "t", "pytorch_model.bin")))
    assert torch.parameters is None and torch.may_have("pooler.")


@pytest.mark.parametrize("n_bytes", [0, 4, 60, -1])
def test_weights_that_are_cut_off_are_noticed_before_any_is_read(tmp_path: Path, n_bytes: int) -> None:
    from safetensors.numpy import save_file

    folder = write_model(tmp_path / "m")
    save_file({"a": np.zeros(100, np.float32)}, folder / "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:n_bytes])
    with pytest.raises(ModelError, match=r"model 'm': .*/model.safetensors is damaged or cut off"):
        _ = resolve_model(str(folder)).parameters
