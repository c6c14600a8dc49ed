"""What the layers of this room have in common."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class AtInference(Protocol):
    """A layer that can say what it is at inference."""

    def at_inference(self) -> nn.Module:
        """The same function in eval mode, made of PyTorch's own layers; tensors may be shared."""
        ...
