"""The network cut into stages: a stage ends where the next normalization layers begin.

A layer's statistics can be estimated once every layer before it has its own. The stage of a value
is the number of layers on the longest way to it; all layers whose input is of one stage are
estimated in one pass, and the pass after it goes on from there.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from training.graph import Array
from training.recalibrate.network import Layer, Network, reads


class Stages:
    """The stage of every value that some layer depends on."""

    def __init__(self, network: Network) -> None:
        self._network = network
        outputs = {layer.output: layer for layer in network.layers}
        self._constants = {t.name: t for t in network.model.graph.initializer}
        nodes = list(network.model.graph.node)
        needed = _ancestors(nodes, (layer.data for layer in network.layers))
        self._nodes: list[tuple[int, onnx.NodeProto]] = []
        self.of_value: dict[str, int] = {}
        for node in nodes:
            stage = max((self.of_value.get(name, 0) for name in reads(node)), default=0)
            if node.output and node.output[0] in outputs:
                stage = self.of_value.get(node.input[0], 0) + 1
            self.of_value |= dict.fromkeys(node.output, stage)
            if needed & set(node.output):
                self._nodes.append((stage, node))

    @property
    def count(self) -> int:
        """How many passes there are."""
        return 1 + max(self.of_value.get(layer.data, 0) for layer in self._network.layers)

    def layers(self, stage: int) -> list[Layer]:
        """The layers that are estimated in a pass."""
        layers = self._network.layers
        return [layer for layer in layers if self.of_value.get(layer.data, 0) == stage]

    def frontier(self, stage: int) -> list[str]:
        """The values that later stages read: of this stage or an earlier one."""
        later = {name for s, node in self._nodes if s > stage for name in reads(node)}
        made = {name for s, node in self._nodes if s <= stage for name in node.output if name}
        declared = (value.name for value in self._network.model.graph.input)
        made.update(name for name in declared if name not in self._constants)
        return sorted(later & made)

    def segment(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> onnx.ModelProto:
        """The part of the network, as corrected so far, from the values in `feeds` to `outputs`."""
        model = self._network.model
        computed = [name for name in outputs if name not in feeds]
        wanted = _ancestors([node for _, node in self._nodes], computed, stop=feeds) - set(feeds)
        nodes = [node for _, node in self._nodes if wanted & set(node.output)]
        read = {name for node in nodes for name in reads(node)}
        graph = helper.make_graph(
            nodes,
            "segment",
            [_declare(name, feeds[name]) for name in feeds if name in read],
            [onnx.ValueInfoProto(name=name) for name in computed],
            [tensor for tensor in model.graph.initializer if tensor.name in read],
            sparse_initializer=[
                tensor for tensor in model.graph.sparse_initializer if tensor.values.name in read
            ],
        )
        return helper.make_model(
            graph,
            ir_version=model.ir_version,
            opset_imports=model.opset_import,
            functions=model.functions,
        )


def _ancestors(
    nodes: Sequence[onnx.NodeProto], values: Iterable[str], stop: Iterable[str] = ()
) -> set[str]:
    """`values` and all that they are computed from, no further than `stop`."""
    wanted, known = set(values), set(stop)
    for node in reversed(nodes):
        if wanted & set(node.output) - known:
            wanted.update(reads(node))
    return wanted - {""}


def _declare(name: str, array: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
    return helper.make_tensor_value_info(name, kind, [None] * array.ndim)
