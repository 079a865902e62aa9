"""Models by name, and their download from a stand-in for the hub that speaks as much of its protocol as is needed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from vitmatte_reference import TINY, reference

from videomatte.errors import ModelError
from videomatte.models.registry import find, locate, models

REPOSITORY = "hustvl/vitmatte-small-composition-1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository from memory; may break off once, or hand out other bytes than its checksums say."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.break_off_after: int | None = None
        self.damage = False
        self.ranges: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        repository, _, name = self.path.lstrip("/").partition("/resolve/main/")
        known = repository == REPOSITORY
        content = self.server.files.get(name) if known else None
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        digest = hashlib.sha256(content).hexdigest()
        wanted, start = self.headers.get("Range"), 0
        if wanted:
            self.server.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if self.server.damage and name.endswith("safetensors"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(rest)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            after, self.server.break_off_after = self.server.break_off_after, None
            if after is not None and name.endswith("safetensors"):
                self.wfile.write(rest[:after])
                self.close_connection = True
            else:
                self.server.break_off_after = after
                self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("network")
    reference(TINY).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3, "image_std": [0.2] * 3}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    server = Hub(dict(files))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(code: str, home: Path, endpoint: str, **settings: str) -> str:
    """What a fresh interpreter prints: the hub's client reads its address and its cache when it is imported."""
    code = f"""
from videomatte.errors import ModelError
from videomatte.models.load import load_network
from videomatte.models.registry import find, locate
try:
    {code}
except ModelError as error:
    print("refused:", error)
"""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **settings}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_a_download_that_breaks_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = os.urandom(24 * 2**20)  # the client keeps what it has in parts of 10 MiB
    hub.break_off_after = 15 * 2**20
    folder = Path(ask(f"print(locate('{REPOSITORY}'))", tmp_path, hub.address))
    assert [wanted.split("-")[0] for wanted in hub.ranges] == [f"bytes={10 * 2**20}"]
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == hub.files[name]


def test_a_download_serves_offline(hub: Hub, tmp_path: Path) -> None:
    folder = ask(f"print(locate('{REPOSITORY}'))", tmp_path, hub.address)
    code = "m, e = load_network('vitmatte-small-composition-1k'), find('vitmatte-small-composition-1k');"
    code += "print(m.config.mean, e.present, e.where, find('vitmatte-base-composition-1k').present)"
    assert ask(code, tmp_path, "http://127.0.0.1:9") == f"(0.4, 0.4, 0.4) True {folder} False"


def test_damaged_download_is_refused_and_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.damage = True
    assert "the download is damaged" in ask(f"locate('{REPOSITORY}')", tmp_path, hub.address)
    hub.damage = False
    folder = Path(ask(f"print(locate('{REPOSITORY}'))", tmp_path, hub.address))
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_what_the_hub_lacks_is_told(hub: Hub, tmp_path: Path) -> None:
    del hub.files["config.json"]
    message = ask(f"locate('{REPOSITORY}')", tmp_path, hub.address)
    assert "not a network in transformers' layout" in message
    message = ask("locate('someone/nothing')", tmp_path, hub.address)
    assert f"the hub at {hub.address} has no such model" in message


def test_without_a_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    # Told to be offline, the client gives up at once; a hub that does not answer it tries for half a minute.
    message = ask(f"locate('{REPOSITORY}')", tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert message.startswith(f"refused: {REPOSITORY} is not on this machine")
    assert "\n" not in message
    for part in ("config.json", "preprocessor_config.json", "model.safetensors", f"/{REPOSITORY}/tree/main", "folder"):
        assert part in message


def test_the_registry_says_what_each_model_is() -> None:
    names = [entry.name for entry in models()]
    assert len(set(names)) == len(names) == 7
    for entry in models():
        assert entry.summary
        assert entry.normalisation
        assert entry.code_licence
        assert entry.data_licence
        assert entry.where
        assert (entry.megabytes > 0) == (entry.source == "hub")
        assert find(entry.name) is find(entry.name.rpartition("/")[2]) is entry
    assert find("embedded").present
    assert find("vitmatte") is None


def test_paths_stand_for_themselves_and_typos_are_told(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="did you mean vitmatte-small-composition-1k"):
        locate("vitmatte-small-composition")
    with pytest.raises(ModelError, match="no file has that name: known are embedded"):
        locate("x.pth")
    with pytest.raises(ModelError, match="no file has that name"):
        locate(str(tmp_path / "missing.safetensors"))
