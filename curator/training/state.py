"""All of a training's state as arrays and JSON: networks, averages, optimisers. No pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.errors import UsageError
from curator.training.parts import Trainer


def pack(trainer: Trainer) -> tuple[dict[str, NDArray[Any]], list[list[dict[str, Any]]]]:
    """(arrays by name, of each optimiser the numbers of each group): what `unpack` restores exactly."""
    arrays: dict[str, NDArray[Any]] = {}
    # 1. Weights, and their moving averages beside them.
    for kind, networks in (("networks", trainer.networks), ("averages", trainer.averages)):
        for name, network in networks.items():
            arrays |= {f"{kind}/{name}/{k}": v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    # 2. Of each optimiser the tensors go with the arrays, as Adam's two moments of each weight (p is its number),
    # and the numbers, as its rate, into JSON.
    groups = []
    for i, phase in enumerate(trainer.phases):
        state = phase.optimiser.state_dict()
        for p, values in state["state"].items():
            arrays |= {
                f"optimisers/{i}/{p}/{k}": v.detach().cpu().numpy() for k, v in values.items() if torch.is_tensor(v)
            }
        groups.append(
            [
                {k: v for k, v in g.items() if isinstance(v, int | float | bool)} | {"params": g["params"]}
                for g in state["param_groups"]
            ]
        )
    # Copies: training goes on while these are written, and would change them.
    return {k: np.array(v) for k, v in arrays.items()}, groups


def unpack(trainer: Trainer, arrays: dict[str, NDArray[Any]], groups: list[list[dict[str, Any]]]) -> None:
    """Restore a trainer. Raises `UsageError` where the arrays belong to other networks."""
    # 1. Weights and averages, in place: optimisers hold on to the tensors that are there.
    for kind, networks in (("networks", trainer.networks), ("averages", trainer.averages)):
        for name, network in networks.items():
            load_network(network, arrays, f"{kind}/{name}/")
    for i, phase in enumerate(trainer.phases):
        state = phase.optimiser.state_dict()
        # 2. `optimisers/0/17/exp_avg` is the first moment of weight 17 in the first phase.
        tensors: dict[int, dict[str, Any]] = {}
        prefix = f"optimisers/{i}/"
        for key, value in arrays.items():
            if key.startswith(prefix):
                p, name = key[len(prefix) :].split("/")
                tensors.setdefault(int(p), {})[name] = torch.from_numpy(value.copy())
        # A group keeps what JSON could not hold, and takes back the numbers.
        merged = [g | numbers for g, numbers in zip(state["param_groups"], groups[i], strict=True)]
        phase.optimiser.load_state_dict({"state": tensors, "param_groups": merged})


def load_network(network: torch.nn.Module, arrays: dict[str, NDArray[Any]], prefix: str) -> None:
    """Restore one network from the arrays below a prefix."""
    state = {k[len(prefix) :]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise UsageError(
            f"this checkpoint is of other networks than this version makes of the same options ({first}); "
            "`options.json` of the run says "
            "which version wrote it: use that one, or train anew"
        ) from error
