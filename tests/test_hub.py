"""Fetching weights, with the hub's real client against a server on loopback that speaks enough of its protocol."""

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
from typing import ClassVar

import pytest

WEIGHTS = b"not really weights" * 1000
NAME = "open_clip_model.safetensors"


class Hub(BaseHTTPRequestHandler):
    """One repository with one file; `seen` keeps the requests."""

    seen: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        self.seen.append(f"{self.command} {self.path}")
        if self.path.startswith("/api/models/"):
            data, kind = (
                json.dumps({"id": "a/b", "siblings": [{"rfilename": NAME, "size": 605_000_000}]}).encode(),
                "application/json",
            )
        elif self.path.endswith(f"/resolve/main/{NAME}"):
            data, kind = WEIGHTS, "application/octet-stream"
        else:
            data, kind = b"", "text/plain"
        self.send_response(200 if data else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


CODE = """
from curator.encoders import is_cached, parse_name
from curator.encoders.hub import find_weights
print(is_cached("base"))
print(find_weights(parse_name("base")))
print(is_cached("base"))
"""


def test_weights_are_fetched_once_and_only_then_is_the_network_used(hub: str, tmp_path: Path) -> None:
    """What will be fetched, and how large, is said first; the second time nobody is asked."""
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    first = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False)
    assert first.returncode == 0, first.stderr
    before, path, after = first.stdout.splitlines()
    assert (before, after) == ("False", "True")
    assert Path(path).read_bytes() == WEIGHTS
    assert "Fetching the weights of 'base' (ViT-B-32/datacomp_xl_s13b_b90k) from the hub, 605 MB, once." in first.stderr
    asked = len(Hub.seen)
    again = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
    assert again.stdout.splitlines() == ["True", path, "True"]
    assert len(Hub.seen) == asked
