"""Kill what works on a set, at random moments, and look whether anything was lost or doubled.

    python scripts/kill_campaign.py driver|node|all|postgres [--times 20] [--seed 0]

`driver`: SIGKILL of `curator scale embed` with its local workers. `node`: of one of two Ray nodes with all it runs, and
the command goes on. `all`: of the driver and both nodes, which then are started anew. `postgres`: of a whole server
while `curator push` fills it. After each the same command runs again to its end, and then: planned = rows + skipped,
no picture twice, every vector the one that an undisturbed set has. Exits with 1 where that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from machine import describe_machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from clusters import Postgres, RayCluster
from scaling import make_set, put_pictures, rows_of

from curator.errors import EngineProblem
from curator.scale.checking import set_status, verify_set
from curator.scale.drive import whole_set
from curator.scale.plan import make_plan
from curator.scale.storage import Storage
from curator.vectors import open_service

PICTURES, DAMAGED = 300, 3


class Trouble(Exception):
    """Something was lost, doubled or changed."""


def check(whether: bool, what: str) -> None:
    if not whether:
        raise Trouble(what)


class Campaign:
    """Pictures, the set that nobody disturbed, and a place for each try."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.rng = home, np.random.default_rng(seed)
        self.pictures = put_pictures(home / "pictures", PICTURES)
        make_set(self.pictures, home / "calm", size=4, label_from="folder")
        self.calm = rows_of(home / "calm")
        self.facts: list[str] = []

    def fresh(self, number: int) -> Path:
        """A set that is planned, and not begun."""
        place = self.home / f"set-{number}"
        make_plan(str(self.pictures), str(place), shard_size=4, options={"label_from": "folder"})
        return place

    def wait(self, process: subprocess.Popen[bytes], place: Path, seconds: float) -> int:
        """Let a command work for a random time from its first receipt on → how many receipts there are then."""
        shards, deadline = place / "shards", time.monotonic() + 300
        before = len(list(shards.glob("*.json")))
        while len(list(shards.glob("*.json"))) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(float(self.rng.uniform(0, seconds)))
        return len(list(shards.glob("*.json")))

    def is_whole(self, place: Path) -> None:
        """Raise `Trouble` unless the set is as the calm one."""
        whole, status = whole_set(Storage(str(place))), set_status(str(place))
        check(whole.rows + sum(status.skipped.values()) == PICTURES + DAMAGED, "planned = rows + skipped does not hold")
        check(rows_of(place) == self.calm, "rows or vectors are others")  # raises for a picture that stands twice
        named = {r.file for r in whole.receipts}
        strays = [f for f in verify_set(str(place)) if f.place.removeprefix("shards/") not in named]
        check(all("no receipt names it" in f.problem for f in strays), "verify finds more than files nobody names")


def curator(*words: object, **how: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curator", *map(str, words)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, **how)  # type: ignore[call-overload, no-any-return]


def kill(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL of a command and its children → whether it was still at work."""
    was_alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_alive


def driver_trials(campaign: Campaign, times: int) -> Iterator[str]:
    for number in range(times):
        place, deaths, receipts = campaign.fresh(number), 0, list[int]()
        for _ in range(3):
            process = curator("scale", "embed", place, "-e", "pixels", "--workers", 2)
            receipts.append(campaign.wait(process, place, 0.3))
            deaths += kill(process)
        check(curator("scale", "embed", place, "-e", "pixels").wait() in (0, 1), "the last run failed")
        campaign.is_whole(place)
        yield f"{deaths} deaths at {receipts} receipts of 76"


def node_trials(campaign: Campaign, times: int) -> Iterator[str]:
    cluster = RayCluster(Path(tempfile.mkdtemp(prefix="r")))
    cluster.start()
    try:
        for number in range(times):
            place = campaign.fresh(number)
            process = cluster.start_command("scale", "embed", place, "-e", "pixels", "--on", cluster.address)
            receipts = campaign.wait(process, place, 0.5)
            was_alive = process.poll() is None
            cluster.kill_node()
            process.wait()
            cluster.add_node()
            done = cluster.run("scale", "embed", place, "--on", cluster.address)
            check(done.returncode in (0, 1), f"the last run: {done.stderr[-300:]}")
            campaign.is_whole(place)
            yield f"a node died at {receipts} receipts of 76, the command {'worked' if was_alive else 'had ended'}"
    finally:
        cluster.stop()


def all_trials(campaign: Campaign, times: int) -> Iterator[str]:
    for number in range(times):
        place = campaign.fresh(number)
        cluster = RayCluster(Path(tempfile.mkdtemp(prefix="r")))
        cluster.start()
        try:
            process = cluster.start_command("scale", "embed", place, "-e", "pixels", "--on", cluster.address)
            receipts = campaign.wait(process, place, 0.5)
            was_alive = kill(process)
        finally:
            cluster.stop()
        check(curator("scale", "embed", place, "-e", "pixels").wait() in (0, 1), "the last run failed")
        campaign.is_whole(place)
        yield f"all died at {receipts} receipts of 76, the command {'worked' if was_alive else 'had ended'}"


def postgres_trials(campaign: Campaign, times: int) -> Iterator[str]:
    server, place = Postgres(Path(tempfile.mkdtemp(prefix="pg"))), campaign.home / "calm"
    vector_of = {row[0]: row[3] for row in campaign.calm.values()}
    try:
        for number in range(times):
            url = server.url(f"try{number}")
            process = curator("push", place, "--to", url)
            time.sleep(float(campaign.rng.uniform(0.9, 2.6)))
            was_alive = process.poll() is None
            server.kill()
            process.wait()
            server.start()
            parts = len(loaded_in(url))
            check(curator("push", place, "--to", url).wait() == 0, "the second push failed")
            service = open_service(url)
            ids = service.ids_where("true").tolist()
            check(ids == sorted(vector_of), "rows were lost or doubled")
            x = service.vectors(ids).astype(np.float16)
            check(all(v.tobytes() == vector_of[i] for i, v in zip(ids, x, strict=True)), "vectors are others")
            check(list(service.verify()) == [], "verify finds something")
            service.drop()
            service.close()
            yield f"died with {parts} parts of 76, the push {'worked' if was_alive else 'had ended'}"
    finally:
        server.stop()


def loaded_in(url: str) -> dict[int, str]:
    """Parts of a set that may not have been begun."""
    service = open_service(url)
    try:
        return service.loaded()
    except EngineProblem:  # not begun
        return {}
    finally:
        service.close()


TRIALS: dict[str, Callable[[Campaign, int], Iterator[str]]] = {
    "driver": driver_trials, "node": node_trials, "all": all_trials, "postgres": postgres_trials,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TRIALS)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(describe_machine(), f"load {os.getloadavg()[0]:.1f}", flush=True)
    campaign, began = Campaign(Path(tempfile.mkdtemp(prefix="kills")), asked.seed), time.monotonic()
    number = 0
    try:
        for number, line in enumerate(TRIALS[asked.what](campaign, asked.times), 1):
            print(f"{asked.what} {number}: {line}", flush=True)
    except Trouble as trouble:
        print(f"{asked.what} {number + 1}: {trouble}; see {campaign.home}", flush=True)
        sys.exit(1)
    print(f"{number} times: nothing lost, nothing doubled, every vector unchanged; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
