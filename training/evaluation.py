"""Pictures as the networks take them, and the accuracy of a network on a test set."""

import torch
from torch import Tensor, nn

from training.data import Dataset
from training.data.idx import Pixels
from training.data.sources import Source

BATCH = 500


def as_tensor(images: Pixels) -> Tensor:
    """A copy of grey pictures [N, H, W] as unsigned bytes [N, 1, H, W]."""
    return torch.from_numpy(images.copy()).unsqueeze(1)


def standardize(images: Tensor, source: Source) -> Tensor:
    """(x - mean) / std with the constants of the data set, x in 0 to 1, channels last."""
    standardized = (images - source.mean) / source.std
    return standardized.contiguous(memory_format=torch.channels_last)


def accuracy_on_test(network: nn.Module, data: Dataset) -> float:
    """The share of test images classified right, in eval mode; the mode is put back."""
    was_training = network.training
    network.eval()
    images, labels = as_tensor(data.test_images), torch.tensor(data.test_labels)
    right = 0
    try:
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                part = slice(start, start + BATCH)
                logits = network(standardize(images[part].float() / 255, data.source))
                right += int((logits.argmax(1) == labels[part]).sum())
    finally:
        network.train(was_training)
    return right / len(images)
