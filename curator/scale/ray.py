"""A Ray cluster as executor: its autoscaling pool of actors does the work, notices who is lost, and tries again.

The only module with `ray`. Ray runs whatever code reaches it, so a cluster must ask for a token; TLS is Ray's own
affair (`RAY_USE_TLS`), without which the token travels in clear.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curator import errors
from curator.errors import CuratorError, ExecutorLost, UsageError
from curator.job import Job
from curator.registry import extra
from curator.scale.executor import Outcome, Stage, Workers
from curator.texts import to_json

_PATIENCE = 600.0  # seconds without one outcome, after which a person is told
_BLOCKS = 20_000  # of the list of items; a lost worker's block is begun again, and what of it is done is passed over
_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}


class RayExecutor:
    """Actors on the nodes of a cluster.

    `address` is `HOST:6379`, `ray://HOST:10001`, or "auto": the one that runs here, else one that is begun, on this
    machine alone.

    Raises `UsageError` for a cluster that asks for no token, unless its network is trusted; `ExecutorLost`.
    """

    def __init__(self, address: str, workers: Workers = Workers(), *, trusted_network: bool = False) -> None:  # noqa: B008
        os.environ.update({k: os.environ.get(k, v) for k, v in _PRIVATE.items()})
        self.address, self.workers = address, workers
        begins = address == "auto" and not _is_running()
        if begins and os.environ.get("RAY_AUTH_MODE") != "token":
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        if os.environ.get("RAY_AUTH_MODE") != "token" and not trusted_network:
            raise UsageError(
                "a Ray cluster runs whatever code reaches it, so it must ask for a token: start it and this command "
                "with RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN, or say --trusted-network"
            )
        self._ray = extra("ray", "ray")
        extra("ray.data", "ray")
        # What Ray says of its processes is for a person, and not part of what a command prints.
        self._aside = contextlib.ExitStack()
        self._aside.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            _connect(self._ray, "local" if begins else address)
        except BaseException:
            self._aside.close()
            raise

    def threads(self) -> int:
        """All of the cores that Ray gives one actor: one where it has a GPU to feed, else one a CPU."""
        return 4 if self.workers.gpus else 1

    def close(self) -> None:
        """Leave the cluster; it goes on without us, but for one that was begun here."""
        self._ray.shutdown()
        self._aside.close()

    def run(self, stage: Stage, items: Sequence[int], job: Job) -> Iterator[Outcome]:
        """See `Executor`. The items travel as numbers and the outcomes as JSON."""
        outcomes: queue.Queue[Outcome | BaseException | None] = queue.Queue()
        threading.Thread(target=self._stream, args=(stage, list(items), outcomes), daemon=True).start()
        last = time.monotonic()
        while True:
            if job.stop:
                return
            try:
                outcome = outcomes.get(timeout=0.5)
            except queue.Empty:
                if time.monotonic() - last > _PATIENCE:
                    raise ExecutorLost(
                        f"no part was finished for {_PATIENCE / 60:.0f} minutes, though the cluster answers; `ray "
                        "status` says what it waits for. What has a receipt is kept: the same command goes on"
                    ) from None
                continue
            if outcome is None:
                return
            if isinstance(outcome, BaseException):
                raise outcome
            last = time.monotonic()
            yield outcome

    def _stream(self, stage: Stage, items: list[int], outcomes: queue.Queue[Any]) -> None:
        try:
            data = self._ray.data
            most = self.workers.most or max(self.workers.least, int(self._ray.cluster_resources().get("CPU", 1) * 2))
            strategy = data.ActorPoolStrategy(min_size=self.workers.least, max_size=max(self.workers.least, most))
            needs: dict[str, Any] = {"num_cpus": 0.5}
            if self.workers.gpus:
                needs = {"num_cpus": 1, "num_gpus": self.workers.gpus}
            listed = data.from_items(items, override_num_blocks=min(len(items), _BLOCKS))
            rows = listed.map_batches(
                _Actor, fn_constructor_args=(stage,), batch_size=1, compute=strategy, **needs
            ).iter_rows()
            for row in rows:
                outcomes.put(_outcome(json.loads(row["outcome"])))
            outcomes.put(None)
        except CuratorError as error:
            outcomes.put(error)
        except Exception as error:  # noqa: BLE001 - Ray's own kinds, which differ between its versions
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            outcomes.put(
                ExecutorLost(
                    f"the cluster gave up: {reason[:300]}. What has a receipt is kept: the same command goes on"
                )
            )


class _Actor:
    """One worker on a node, around a stage."""

    def __init__(self, stage: Stage) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        self.stage = stage

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"outcome": [to_json(self._one(int(item))) for item in batch["item"]]}

    def _one(self, item: int) -> Outcome:
        try:
            return self.stage(item)
        except CuratorError as error:  # as words: an exception would travel as a pickle of somebody's
            return {"raises": type(error).__name__, "text": str(error)}


def _outcome(outcome: Outcome) -> Outcome:
    """An outcome of a worker. Raises the error that it met."""
    if "raises" in outcome:
        kind = getattr(errors, str(outcome["raises"]), errors.ScaleProblem)
        raise kind(outcome["text"])
    return outcome


def _is_running() -> bool:
    """Whether a cluster runs on this machine, or is named by the environment.

    Ray itself is not asked: it reads how to authenticate when it is imported, which is settled after this.
    """
    if os.environ.get("RAY_ADDRESS"):
        return True
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # where `ray start` writes it
    try:
        host, _, port = note.read_text().strip().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except (OSError, ValueError):
        return False


def _connect(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    with contextlib.suppress(AttributeError):
        ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(address=address, ignore_reinit_error=True, **quiet)
    except Exception as error:  # ConnectionError, RuntimeError and Ray's own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExecutorLost(
            f"no Ray cluster could be reached at {address}: {reason[:300]}; does it run, and is RAY_AUTH_TOKEN its "
            "token?"
        ) from error
