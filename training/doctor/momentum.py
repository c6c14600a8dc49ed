"""What `momentum` means: frameworks agree on the word and not on what it multiplies.

The rules work with `kept`, the weight of the OLD value in
    running = kept·running + (1 - kept)·batch
PyTorch's number is the weight of the NEW value (0.1 keeps 0.9, and 0.1 in ONNX keeps 0.1).
"""

from dataclasses import dataclass
from typing import Literal

Framework = Literal["PyTorch", "ONNX", "Keras", "hand-written"]

MULTIPLIES: dict[Framework, Literal["new", "old"]] = {
    "PyTorch": "new",
    "ONNX": "old",
    "Keras": "old",
    "hand-written": "old",  # measured by running the layer, see `modules`
}


@dataclass(frozen=True, slots=True)
class Momentum:
    """The number as the framework has it; None is PyTorch's cumulative average."""

    value: float | None
    framework: Framework

    @property
    def kept(self) -> float | None:
        """The weight of the old value; None where every batch weighs the same."""
        if self.value is None:
            return None
        # An ONNX attribute is a float32: 0.9 comes as 0.8999999761581421.
        value = float(f"{self.value:.7g}")
        return value if MULTIPLIES[self.framework] == "old" else 1 - value
