"""A second door of a running page: a socket in the index's folder, which only the folder's owner can open.

The command line asks there, before anything is loaded, what it would else have to load the encoder for. No other user
can listen in the page's place, as on a port that has become free, so the token goes to nobody else.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASK = "/api/ask"
TOKEN = "web.token"
_WAIT = 20.0  # seconds for an answer: the page may be loading the encoder


def socket_of(folder: Path, port: int) -> Path:
    """Where the page on a port is asked; the port is in the name because requests have to say it."""
    return folder / f"web-{port}.sock"


def open_beside(folder: Path, port: int) -> socket.socket | None:
    """The socket of a page, listening; None where the system, the disk or a long path allows none."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    file = socket_of(folder, port)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        file.unlink(missing_ok=True)  # of a page that was killed: the port is this one's now
        listener.bind(str(file))
        file.chmod(0o600)
        listener.listen(16)
    except OSError:
        listener.close()
        return None
    return listener


def close_beside(folder: Path, port: int, listener: socket.socket) -> None:
    """Take the socket's name away, as a page ends, unless it is another page's by now."""
    file = socket_of(folder, port)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        listener.close()
        with contextlib.suppress(ConnectionRefusedError):
            other.connect(str(file))
            return
        file.unlink(missing_ok=True)


class _Connection(http.client.HTTPConnection):
    """HTTP through a socket that is a file."""

    def __init__(self, file: Path) -> None:
        super().__init__("127.0.0.1", int(file.stem.removeprefix("web-")), timeout=_WAIT)
        self.file = file

    def connect(self) -> None:
        """Open the file instead of an address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.file))
        # The name may have changed hands since it was looked at.
        if hasattr(socket, "SO_PEERCRED"):
            _, uid, _ = struct.unpack("3i", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid != os.getuid():
                raise ConnectionRefusedError(f"{self.file} is another user's")


def ask_beside(folder: Path, question: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer of a page that runs on the index in `folder`; None where none does, or it cannot tell."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    for file in sorted(folder.glob("web-*.sock")):
        try:
            facts = file.lstat()
            if not stat.S_ISSOCK(facts.st_mode) or facts.st_uid != os.getuid():
                continue
            token = (folder / TOKEN).read_text().strip()
            connection = _Connection(file)
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            with contextlib.closing(connection):
                connection.request("POST", ASK, json.dumps(question), headers)
                answer = connection.getresponse()
                if answer.status == http.client.OK:
                    return dict(json.loads(answer.read()))
        except (OSError, ValueError, http.client.HTTPException):
            continue
    return None
