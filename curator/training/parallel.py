"""Several processes under `torchrun`.

Each takes its share of a batch, and gradients are averaged as one flat vector after backward. DistributedDataParallel
is not used, because its hooks do not see the gradients of gradients that a GAN's penalties need.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist

from curator.job import cores


@dataclass(frozen=True)
class Team:
    """This process' `rank` of `world`, and its device."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    @contextlib.contextmanager
    def join(cls) -> Iterator[Self]:
        """The team that `torchrun` started, or a team of one; a GPU where there is one, else all cores."""
        # `torchrun` tells each process how many there are, and which one it is on its machine.
        world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device(f"cuda:{local}" if cuda else "cpu")
        # torchrun says 1 to all where nobody said anything
        if not cuda and ("OMP_NUM_THREADS" not in os.environ or world > 1):
            torch.set_num_threads(max(1, cores() // world))
        if world == 1:
            yield cls(0, 1, device)
            return
        if cuda:
            torch.cuda.set_device(device)
        # NCCL talks between GPUs, Gloo between processors.
        dist.init_process_group("nccl" if cuda else "gloo")
        try:
            yield cls(dist.get_rank(), world, device)
        finally:
            dist.destroy_process_group()

    def average(self, network: torch.nn.Module) -> None:
        """The mean of all processes' gradients, in place."""
        if self.world == 1:
            return
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        # One message instead of one for each tensor.
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        # all_reduce sums; the mean is what one process with the whole batch would have.
        flat /= self.world
        # Back into the tensors that the optimiser holds, in the order they were joined.
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def any(self, *facts: bool) -> list[bool]:
        """Of each fact, whether it holds in any process."""
        if self.world == 1:
            return list(facts)
        flags = torch.tensor([float(f) for f in facts], device=self.device)
        # Any process that says yes says it for all.
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [bool(f) for f in flags.tolist()]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def average_buffers(self, network: torch.nn.Module) -> None:
        """The mean of all processes' statistics of normalisation, in place."""
        for buffer in network.buffers() if self.world > 1 else ():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(self.world)

    def share(self, text: str) -> str:
        """The first process' text, in all."""
        if self.world == 1:
            return text
        shared = [text]
        # Folder names are no tensors; they go as objects, of our own making alone.
        dist.broadcast_object_list(shared, 0)
        return shared[0]

    def agree(self, number: float) -> float:
        """The first process' number, in all."""
        if self.world == 1:
            return number
        # float64: a Fréchet distance that differs in its last digit would part the processes.
        shared = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)


def mean_of_all(x: torch.Tensor) -> torch.Tensor:
    """A number averaged over all processes, without its gradient."""
    x = x.detach().clone()
    if dist.is_initialized():
        # Only a number for the log or a rule: no gradient flows through it.
        dist.all_reduce(x)
        x /= dist.get_world_size()
    return x
