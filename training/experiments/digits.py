"""MNIST as tensors in memory: batches are slices, no loader is needed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.data import Dataset
from training.evaluation import as_tensor

EVALUATION_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Digits:
    """Images [N, 1, 28, 28], float32 from 0 to 1, and labels [N]."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def standardized(self, mean: float, std: float) -> "Digits":
        """(x - mean)/std."""
        images, test_images = ((part - mean) / std for part in (self.images, self.test_images))
        return Digits(images, self.labels, test_images, self.test_labels)

    def scaled(self, factor: float) -> "Digits":
        """The images multiplied by a factor."""
        return self.standardized(0.0, 1 / factor)


def digits(data: Dataset) -> Digits:
    """The complete data set as float32 tensors."""
    return Digits(
        as_tensor(data.train_images).float() / 255,
        torch.from_numpy(data.train_labels.astype("int64")),
        as_tensor(data.test_images).float() / 255,
        torch.from_numpy(data.test_labels.astype("int64")),
    )


def logits_of(
    network: nn.Module, images: Tensor, *, batch: int = EVALUATION_BATCH, training: bool = False
) -> Tensor:
    """The network's outputs [N, 10], batch by batch, in eval mode (or training mode if asked to).

    The modes of all modules are put back. In training mode the layers' running statistics move.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        with torch.no_grad():
            return torch.cat([network(part) for part in torch.split(images, batch)])
    finally:
        for module, mode in modes:
            module.training = mode


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest output is the label's; rows that are not finite are wrong."""
    right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
    return float(right.double().mean())
