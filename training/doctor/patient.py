"""What the doctor is shown: whatever the target offers, None where it offers nothing.

Rules ask through `require_…`, which says what is missing; reading files is `targets`' work.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import onnx

from service.manifest import Layer as BundleLayer
from service.manifest import Preprocessing
from training.doctor.finding import NotChecked
from training.doctor.layer import Layer
from training.doctor.network import Network
from training.doctor.observation import Observation, Position, observe, positions
from training.doctor.rows import Rows
from training.doctor.runner import OnnxRunner, Runner

Relation = Literal["same", "rank", "precise", "frozen"]
RELATIONS: dict[Relation, str] = {
    "same": "the same function in another form: folded, exported, converted",
    "rank": "the same checkpoint as another rank of a distributed training has it",
    "precise": "the same weights with statistics re-estimated on training data",
    "frozen": "an earlier state, since which the normalization layers were declared frozen",
}


@dataclass(frozen=True, slots=True)
class Training:
    """How the network was trained: rows in a mini-batch, and in the last one of an epoch."""

    batch_size: int
    last_batch: int | None = None


@dataclass(frozen=True, eq=False)
class Patient:
    """A target and everything that can be known of it.

    `network` is the unfolded ONNX network, `served` the folded one of a bundle, `recorded` what a
    bundle says of its layers, `pictures` how it takes them. `executable` runs what is no ONNX
    network. `against` stands in `relation` to the target.
    """

    name: str
    layers: tuple[Layer, ...]
    network: Network | None = None
    served: onnx.ModelProto | None = None
    recorded: tuple[BundleLayer, ...] = ()
    pictures: Preprocessing | None = None
    executable: Runner | None = None
    has_modules: bool = False
    is_checkpoint: bool = False
    training: Training | None = None
    rows: Rows | None = None
    against: "Patient | None" = None
    relation: Relation = "same"
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def runner(self) -> Runner:
        """What runs the network; NotChecked where nothing does."""
        if self.executable is not None:
            return self.executable
        if self.served is not None:
            return OnnxRunner(self.served)
        if self.network is not None:
            return self.network.runner
        raise NotChecked("a network that can be run: an ONNX file, a run of ours or a bundle")

    @cached_property
    def frozen(self) -> Observation:
        """Every layer's input over the rows, each layer normalizing by its frozen statistics."""
        network, rows = self.require_network(), self.require_rows()
        return observe(network, self.layers, rows, self._batch_size, batch_statistics=False)

    @cached_property
    def batchwise(self) -> Observation:
        """The same, each layer normalizing by its mini-batch, as in training."""
        network, rows = self.require_network(), self.require_rows()
        return observe(network, self.layers, rows, self._batch_size, batch_statistics=True)

    @cached_property
    def positions(self) -> dict[str, Position]:
        """How many values a row has in every channel of a layer."""
        return positions(self.require_network(), self.layers)

    @property
    def _batch_size(self) -> int | None:
        return self.training.batch_size if self.training is not None else None

    def require_network(self) -> Network:
        if self.network is None:
            raise NotChecked("the unfolded network as a graph: an ONNX file, or a run of ours")
        return self.network

    def require_rows(self, kind: Literal["any", "training"] = "any", count: int = 1) -> Rows:
        if self.rows is None or (kind == "training" and self.rows.kind != "training"):
            wanted = "training data: --data FILE.npz --data-is training"
            raise NotChecked(wanted if kind == "training" else "data: --data FILE.npz")
        if len(self.rows) < count:
            raise NotChecked(f"at least {count} rows of data; there are {len(self.rows)}")
        return self.rows

    def require_training(self) -> Training:
        if self.training is None:
            raise NotChecked("the mini-batch size of training: a run of ours, or --batch-size N")
        return self.training

    def require_against(self, relation: Relation) -> "Patient":
        if self.against is None or self.relation != relation:
            raise NotChecked(
                f"{RELATIONS[relation]}: --against OTHER"
                + ("" if relation == "same" else f" --relation {relation}")
            )
        return self.against

    def require_layers(self) -> tuple[Layer, ...]:
        """The layers; NotChecked where there are none to look at."""
        if not self.layers:
            raise NotChecked("normalization layers; there are none")
        return self.layers

    def pairs(self, other: "Patient") -> Iterator[tuple[Layer, Layer]]:
        """The layers that both have by one name, with the same channels."""
        theirs = {layer.name: layer for layer in other.layers}
        for layer in self.layers:
            found = theirs.get(layer.name)
            if found is not None and found.channels == layer.channels:
                yield layer, found


def as_float(array: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A parameter as the rules compute with it: [C], float64."""
    return np.asarray(array).astype(np.float64).reshape(-1)
