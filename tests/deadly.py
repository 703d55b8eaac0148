"""An encoder that kills whoever shows it a picture of 33 pixels, as a broken codec may; importing this registers it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from curator.encoders import PixelEncoder, encoders
from curator.job import Job
from curator.records import Pixels
from curator.scale.embed import EmbedShard
from curator.scale.executor import LocalExecutor, Outcome


class DeadlyEncoder(PixelEncoder):
    """One that dies at a picture of 33 pixels, as a broken codec may."""

    def prepare(self, picture: Image.Image) -> Pixels:
        """End this process without a word, or do as any other."""
        if picture.size == (33, 33):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(picture)


encoders.register("deadly")(DeadlyEncoder)


@dataclass(frozen=True)
class DeadlyShard(EmbedShard):
    """The stage as it is; that its class is here makes workers import this module, and so the encoder."""


class WithDeadly:
    """Real processes, which know the deadly encoder."""

    def threads(self) -> int:
        """One."""
        return 1

    def run(self, stage: EmbedShard, items: Sequence[int], job: Job) -> Iterator[Outcome]:
        """The same stage under the name of its deadly class."""
        return LocalExecutor().run(DeadlyShard(**vars(stage)), items, job)
