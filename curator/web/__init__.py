"""The local page: see, search, review and choose, in the browser of this machine."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curator.errors import UsageError
from curator.web.beside import TOKEN, close_beside, open_beside

if TYPE_CHECKING:
    from curator.index import Index

PORT = 8717
_TRIED = 20  # ports, from the one asked for
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DEADLINE = 2.0  # seconds that a condition typed into the page may take


@dataclass(frozen=True)
class WebOptions:
    """Where to listen, on which port or the next free one, under which further names, and whether changes are taken."""

    port: int = PORT
    host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    read_only: bool = False

    def __post_init__(self) -> None:
        if self.host not in _LOOPBACK and not self.hosts:
            raise UsageError("--host lets others of the network in; say by --allow-host under which name they may come")
        if not 0 < self.port < 65_536:
            raise UsageError(f"--port takes a number from 1 to 65535, not {self.port}")


def read_token(folder: Path) -> str:
    """The secret of an index's page, which stays, so that a bookmark does; only its owner can read the file."""
    file = folder / TOKEN
    try:
        token, stat = file.read_text().strip(), file.stat()
        if len(token) >= 32 and stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            return token
    except (OSError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(32)
    try:
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(token + "\n")
    except OSError:  # an index that cannot be written has a new one each time
        pass
    return token


def serve(
    index: Index,
    options: WebOptions,
    *,
    ready: Callable[[str, str], None],
    read: Callable[[str], bytes] | None = None,
) -> None:
    """Serve the page until Ctrl-C; `ready` is told its address with the token, and one that lets in once.

    `read` gets the bytes of a picture by its uri, where a service answers. Raises `UsageError` where no port is free.
    """
    import uvicorn

    from curator.web.app import make_app
    from curator.web.guard import Guard

    index.who = "web"
    index.reader.deadline = _DEADLINE
    listener = listen(options)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(32) if index.is_served else read_token(index.folder)
    app = make_app(index, read_only=options.read_only, read=read)
    once = secrets.token_urlsafe(32)
    config = uvicorn.Config(
        Guard(app, port, token, options.hosts, {once}), log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=3, server_header=False, date_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    name = options.host if options.host in _LOOPBACK else options.hosts[0]
    name = f"[{name}]" if ":" in name else name
    beside = None if index.is_served else open_beside(index.folder, port)
    ready(f"http://{name}:{port}/?token={token}", f"http://{name}:{port}/?token={once}")
    app.state.pool.warm()
    try:
        server.run(sockets=[listener, *([beside] if beside else [])])
    finally:
        if beside:
            close_beside(index.folder, port, beside)
        app.state.close()


def listen(options: WebOptions) -> socket.socket:
    """A socket on the port asked for, or the next free one. Raises `UsageError` where there is none."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    for port in range(options.port, min(options.port + _TRIED, 65_536)):
        # Named as TCP, or asyncio leaves out TCP_NODELAY, and small answers take 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise UsageError(f"no free port from {options.port} on; name another with --port")
