"""The classifier: small networks, three losses, and honest numbers about what it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from curator.errors import UsageError
from curator.training.batches import Batch, Source
from curator.training.classifier_nets import NETS, Classifier
from curator.training.kinds import ClassifierOptions
from curator.training.parts import Clock, Features, Phase, averaged, optimiser_for
from curator.training.pictures import Bytes, Pictures, Shape, to_unit

_BINS = 15  # of the calibration error
_BLOCK = 512  # images at once
# A small net learns from few images, and fits beside the encoder on two cores.
MOST_PARAMETERS = 1_000_000


class Classification:
    """One network that learns labels."""

    better = "error"

    def __init__(self, source: Source) -> None:
        options, classes = source.options, len(source.pictures.classes)
        assert isinstance(options, ClassifierOptions)
        if classes < 2 or (source.pictures.labels < 0).any():
            raise UsageError("a classifier learns from images that all have a label, of two classes or more")
        self.options, self.source, self.classes = options, source, classes
        self.network = classifier_of(options, source.pictures.shape).to(source.device, memory_format=source.layout)
        refuse_large(options, self.network)
        self.networks = {"classifier": self.network}
        self.averages = {"classifier": averaged(self.network)}
        self.phases = (Phase("loss", self.network, optimiser_for(self.network, options), self.loss),)

    def loss(self, batch: Batch, _clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of `loss_of`, and the accuracy on the batch."""
        logits = self.network.train()(batch.x).float()
        # (b,)
        right = (logits.argmax(1) == batch.y).float().mean()
        return loss_of(self.options, logits, batch.y), {"accuracy": right.detach()}

    def measure(self, held: Pictures, _features: Features) -> dict[str, Any]:
        """Accuracy, loss, Manhattan distance, calibration and confusion on held-out images."""
        # (n, classes)
        p = probabilities(self.averages["classifier"], held.pixels, self.source.device)
        return judged(self.options, p, held.labels)

    def samples(self, _held: Pictures) -> None:
        """A classifier makes none."""

    def finish(self, _pictures: Pictures) -> dict[str, NDArray[Any]]:
        """Nothing is fitted."""
        return {}


def loss_of(options: ClassifierOptions, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Logits (b, classes) and labels (b,) → a loss.

    Cross-entropy; or, of probabilities against one-hot rows, the mean square or the sum of absolute errors. The last
    two saturate where the network is surely wrong, which makes them slow and robust to wrong labels (Ghosh et al.
    2017).
    """
    # −log p of the right class; `smoothing` moves a share of the target to the others.
    if options.loss == "ce":
        return F.cross_entropy(logits, y, label_smoothing=options.smoothing)
    # (b, classes) the distance from certainty in the right class.
    apart = logits.softmax(1) - F.one_hot(y, logits.shape[1])
    return apart.square().sum(1).mean() if options.loss == "mse" else apart.abs().sum(1).mean()


def probabilities(network: torch.nn.Module, pixels: Bytes, device: torch.device) -> NDArray[np.float64]:
    """(n, C, H, W) bytes → (n, classes), rows that sum to 1."""
    network.eval()
    # float64 before the softmax, so that rows sum to 1 to the last digit.
    return np.asarray(_through(network, pixels, device).double().softmax(1).cpu().numpy())


def head_features(network: Any, pixels: Bytes) -> NDArray[np.float32]:
    """(n, C, H, W) bytes → (n, d): what the head of a trained network sees, not normalised."""
    return np.asarray(_through(network.features, pixels, torch.device("cpu")).numpy())


def _through(part: Callable[[torch.Tensor], torch.Tensor], pixels: Bytes, device: torch.device) -> torch.Tensor:
    with torch.no_grad():
        # Block by block: (n, C, H, W) of thousands of pictures would not fit as floats.
        return torch.cat(
            [part(to_unit(torch.from_numpy(pixels[i : i + _BLOCK]).to(device))) for i in range(0, len(pixels), _BLOCK)]
        )


def judged(options: ClassifierOptions, p: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """(n, classes) probabilities against labels (n,).

    `accuracy`, `error` = 1 − accuracy, `loss` as trained, `manhattan_distance` = Σ|p − one-hot| in [0, 2],
    `calibration_error`: the expected gap of confidence and accuracy over 15 bins (Guo et al. 2017, eq. 3); `confusion`
    (classes, classes), true by predicted.
    """
    n, classes = p.shape
    # (n,) confidence, and the class that has it.
    sure, said = p.max(1), p.argmax(1)
    right = said == labels
    # A confidence of 1 belongs to the last bin.
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    # Σ_b |Σ confidence − Σ right| / n: bins count by their size.
    gap = sum(abs(float((sure[bins == b] - right[bins == b]).sum())) for b in range(_BINS)) / n
    confusion = np.zeros((classes, classes), np.int64)
    # Unlike +=, this counts a pair as often as it comes.
    np.add.at(confusion, (labels, said), 1)
    # Logarithms of probabilities are logits of the same softmax.
    logits = torch.from_numpy(np.log(np.maximum(p, 1e-30)))
    loss = float(loss_of(options, logits, torch.from_numpy(labels)))
    distance = float(np.abs(p - np.eye(classes)[labels]).sum(1).mean())
    accuracy = float(right.mean())
    return {
        "accuracy": accuracy, "error": 1 - accuracy, "loss": loss, "manhattan_distance": distance,
        "calibration_error": gap,
        "n": float(n), "confusion": confusion.tolist(),
    }  # fmt: skip


def refuse_large(options: ClassifierOptions, network: torch.nn.Module) -> None:
    """Raise `UsageError` for a network of more than a million parameters."""
    count = sum(p.numel() for p in network.parameters())
    if count > MOST_PARAMETERS:
        what = f"this {options.net} has {count:,} parameters, and the most is {MOST_PARAMETERS:,}"
        raise UsageError(f"{what}; take a smaller --width or --side")


def classifier_of(options: ClassifierOptions, shape: Shape) -> Classifier:
    """The network with its first weights."""
    network: Classifier = NETS[options.net](
        options.width, shape.side, shape.channels, len(shape.classes), options.dropout
    )
    return network
