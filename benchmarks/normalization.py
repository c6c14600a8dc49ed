"""A training step with the written-out batch normalization against PyTorch's native layer.

    python benchmarks/normalization.py [--repetitions N] [--threads N]

Two tables on the shapes of mnist-cnn (batch 128) and of ResNet-18's stages (batch 16), for both
memory layouts: a step (forward, backward) of convolution, normalization and ReLU, as networks
have them, and a step of the normalization alone. The two are run in turn; the figures are medians
in milliseconds and the median of the ratios of neighbours. Takes about a minute.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from training.normalization import BatchNorm2d

SHAPES = {
    "mnist-cnn, 28×28": (128, 24, 28, 28),
    "mnist-cnn, 14×14": (128, 48, 14, 14),
    "mnist-cnn, 7×7": (128, 96, 7, 7),
    "ResNet-18, stage 1": (16, 64, 56, 56),
    "ResNet-18, stage 2": (16, 128, 28, 28),
    "ResNet-18, stage 4": (16, 512, 7, 7),
}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
Step = Callable[[], None]


def block(norm: nn.Module, channels: int, *, alone: bool) -> nn.Module:
    """Convolution, normalization and ReLU, or the normalization alone."""
    if alone:
        return norm
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


def step(network: nn.Module, x: Tensor, grad: Tensor) -> Step:
    """One forward and backward pass."""
    parameters = [x, *network.parameters()]

    def run() -> None:
        torch.autograd.grad(network(x), parameters, grad)

    return run


def seconds(run: Step) -> float:
    """The time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(shape: tuple[int, ...], layout: str, repetitions: int, *, alone: bool) -> str:
    """A row of the table: own, PyTorch's, and their ratio."""
    memory = LAYOUTS[layout]
    x, grad = (torch.randn(shape).contiguous(memory_format=memory) for _ in range(2))
    x.requires_grad_()
    networks = [
        block(norm(shape[1]), shape[1], alone=alone).to(memory_format=memory)
        for norm in (BatchNorm2d, nn.BatchNorm2d)
    ]
    runs = [step(network, x, grad) for network in networks]
    for run in runs:
        run()
    pairs = [[seconds(run) for run in runs] for _ in range(repetitions)]
    own, native = (1e3 * median(column) for column in zip(*pairs, strict=True))
    ratio = median(first / second for first, second in pairs)
    return f"{own:.2f} | {native:.2f} | {ratio:.2f}"


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for alone, title in ((False, "convolution, normalization, ReLU"), (True, "normalization")):
        print(f"\n| step of {title} | layout | own, ms | PyTorch, ms | ratio |")
        print("|---|---|--:|--:|--:|")
        for name, shape in SHAPES.items():
            for layout in LAYOUTS:
                row = compare(shape, layout, arguments.repetitions, alone=alone)
                print(f"| {name} | {layout} | {row} |", flush=True)


if __name__ == "__main__":
    main()
