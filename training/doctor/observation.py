"""What every normalization layer sees on rows of data: its input's statistics, by picture.

The network is run in ONNX Runtime with two more outputs a layer: for each row and channel, the
mean over the positions of (x - μ) and of (x - μ)², μ the frozen mean, so that float32 loses no
digits on a large mean. In batch mode every layer normalizes by its mini-batch, in plain operators,
since training_mode is refused by many runtimes. Sums are merged in float64 (Chan's formula).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.doctor.finding import NotChecked
from training.doctor.instrument import instrument, with_shapes
from training.doctor.layer import Layer
from training.doctor.network import Network
from training.doctor.rows import Rows, draw_rows
from training.doctor.runner import OnnxRunner
from training.fold.affine import Float64
from training.graph import Array

BLOCK = 32  # consecutive rows that run together, where training's mini-batch is not known
LIMIT = 2048  # rows: the distances of interest are 0.05 and more, and 1/√2048 is 0.02

Position = int


@dataclass(eq=False)
class Seen:
    """One layer's input: sums over rows of m, the row's mean about μ, and q, its mean square.

    `blocks` are the means of m over each mini-batch, [C] each.
    """

    centre: Float64
    count: int = 0
    m: Float64 | float = 0.0
    q: Float64 | float = 0.0
    m2: Float64 | float = 0.0
    blocks: list[Float64] = field(default_factory=list)

    def add(self, m: Float64, q: Float64) -> None:
        """Takes in a mini-batch [N, C]."""
        rows, mean = len(m), m.mean(axis=0)
        total, delta = self.count + rows, mean - self.m
        self.m2 = self.m2 + ((m - mean) ** 2).sum(axis=0) + delta**2 * (self.count * rows / total)
        self.m = self.m + delta * (rows / total)
        self.q = self.q + (q.mean(axis=0) - self.q) * (rows / total)
        self.count = total
        self.blocks.append(mean)

    @property
    def mean(self) -> Float64:
        """Of all values, [C]."""
        return self.centre + self.m

    @property
    def var(self) -> Float64:
        """Of all values, [C]."""
        return np.maximum(np.asarray(self.q - np.square(self.m)), 0)

    @property
    def between_rows(self) -> Float64:
        """The variance of the rows' means, [C]: what one more row tells of the mean."""
        return np.asarray(self.m2) / max(self.count - 1, 1)


@dataclass(eq=False)
class Observation:
    """The layers by name, and the share of rows classified right where labels are known."""

    layers: dict[str, Seen]
    rows: int = 0
    block: int = BLOCK
    right: int | None = None

    @property
    def accuracy(self) -> float | None:
        return None if self.right is None else self.right / self.rows


def observe(
    network: Network,
    layers: Sequence[Layer],
    rows: Rows,
    batch_size: int | None,
    *,
    batch_statistics: bool,
) -> Observation:
    """Runs blocks of consecutive rows from all over the data, at most LIMIT rows."""
    readable = [layer for layer in layers if _observable(layer)]
    if not readable:
        raise NotChecked("normalization layers with constant statistics")
    if not all(given.batched for given in network.runner.inputs):
        raise NotChecked("a network whose batch dimension is free")
    runner = OnnxRunner(instrument(network.model, readable, batch_statistics=batch_statistics))
    block = min(batch_size or BLOCK, len(rows))
    found = Observation({layer.name: Seen(_centre(layer)) for layer in readable}, block=block)
    found.right = None if rows.labels is None else 0
    for index in _blocks(len(rows), block, shuffled=batch_statistics):
        answers = runner.run(rows.take(index))
        found.rows += len(index)
        for number, stored in enumerate(found.layers.values()):
            m, q = (answers[f"doctor.{number}.{part}"].astype(np.float64) for part in "mq")
            stored.add(m, q)
        _score(found, next(iter(answers.values())), rows, index)
    return found


def positions(network: Network, layers: Sequence[Layer]) -> dict[str, Position]:
    """The values a row has in each channel of a layer, from one run on drawn rows."""
    readable = [layer for layer in layers if _observable(layer)]
    inputs = network.runner.inputs
    runner = OnnxRunner(with_shapes(network.model, readable))
    answers = runner.run(draw_rows(inputs, 2).inputs)
    shapes = {layer.name: answers[f"doctor.{i}.shape"] for i, layer in enumerate(readable)}
    return {name: int(np.prod(shape[2:])) for name, shape in shapes.items()}


def _observable(layer: Layer) -> bool:
    known = layer.node is not None and layer.place == "main" and layer.mean is not None
    return known and layer.var is not None and layer.scale is not None


def _centre(layer: Layer) -> Float64:
    assert layer.mean is not None
    return np.where(np.isfinite(layer.mean), layer.mean, 0.0)


def _blocks(count: int, block: int, *, shuffled: bool) -> Iterator[NDArray[np.intp]]:
    """Indices of mini-batches: consecutive rows, or shuffled as in training."""
    starts = np.arange(0, count - block + 1, block)
    if len(starts) > LIMIT // block:
        chosen = np.linspace(0, len(starts) - 1, max(LIMIT // block, 1)).astype(int)
        starts = starts[chosen]
    indices = (starts[:, np.newaxis] + np.arange(block)).astype(np.intp)
    if shuffled:
        indices = np.random.default_rng(0).permutation(indices.ravel()).reshape(indices.shape)
    yield from indices


def _score(found: Observation, answer: Array, rows: Rows, index: NDArray[np.intp]) -> None:
    if rows.labels is None or found.right is None:
        return
    if answer.ndim != 2 or len(answer) != len(index) or answer.shape[1] < 2:
        found.right = None  # no scores of classes
        return
    found.right += int((answer.argmax(axis=1) == rows.labels[index]).sum())
