"""Small ONNX graphs for tests: seeded weights, hostile statistics, and a plain way to run them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import training  # noqa: F401  (switches ONNX Runtime's telemetry off before it is imported)

# isort: split
import onnxruntime as ort

Array = NDArray[Any]
PARAMETERS = ("scale", "bias", "mean", "var")


def hostile_statistics(channels: int, random: np.random.Generator) -> dict[str, Array]:
    """Legal statistics of the kind that break folders: scales that are negative or zero,
    variances from 1e-12 to 1e8, means far beyond the deviation. float32, shape [channels]."""
    scale = random.normal(0, 1, channels)
    scale[random.random(channels) < 0.15] = 0
    var = 10 ** random.uniform(-12, 8, channels)
    mean = random.normal(0, 1, channels) * np.where(random.random(channels) < 0.3, 1e3, 1)
    values = (scale, random.normal(0, 1, channels), mean, var)
    return {name: array.astype(np.float32) for name, array in zip(PARAMETERS, values, strict=True)}


def normalized(x: Array, statistics: Mapping[str, Array], epsilon: float = 1e-5) -> Array:
    """Batch normalization at inference in float64, from its definition; channels on axis 1."""
    wide = {name: statistics[name].astype(np.float64) for name in PARAMETERS}
    scale, bias, mean, var = (wide[n].reshape(-1, *[1] * (x.ndim - 2)) for n in PARAMETERS)
    # A FLOAT attribute of ONNX is a float32.
    result: Array = (x - mean) / np.sqrt(var + float(np.float32(epsilon))) * scale + bias
    return result


class Builder:
    """Collects nodes and constants; every `op` returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, name: str, array: Array) -> str:
        self.constants[name] = array
        return name

    def weight(self, name: str, *shape: int, dtype: str = "float32") -> str:
        """A constant with normal (0, 1) entries."""
        return self.constant(name, self.random.standard_normal(shape).astype(dtype))

    def op(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node, named as its output with the suffix `.node`."""
        name = attributes.pop("name", f"{output}.node")
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def normalize(
        self,
        data: str,
        output: str,
        statistics: Mapping[str, Array] | int,
        **attributes: Any,
    ) -> str:
        """BatchNormalization named `output`; statistics given, or hostile for so many channels."""
        if isinstance(statistics, int):
            statistics = hostile_statistics(statistics, self.random)
        names = [self.constant(f"{output}.{name}", statistics[name]) for name in PARAMETERS]
        return self.op("BatchNormalization", [data, *names], output, name=output, **attributes)

    def statistics(self, layer: str) -> dict[str, Array]:
        """The constants that `normalize` made for the layer."""
        return {name: self.constants[f"{layer}.{name}"] for name in PARAMETERS}

    def model(
        self,
        inputs: Mapping[str, Sequence[int | str | None]],
        outputs: Sequence[str],
        opset: int = 17,
        dtype: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        """The checked model; output shapes by shape inference, of which nothing else is kept."""
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]
        )
        onnx.checker.check_model(inferred := onnx.shape_inference.infer_shapes(model))
        for declared, found in zip(graph.output, inferred.graph.output, strict=True):
            declared.CopyFrom(found)
        model.graph.CopyFrom(graph)
        return model


def run(model: onnx.ModelProto, optimized: bool = False, **feeds: Array) -> list[Array]:
    """ONNX Runtime's answer; without its optimizations unless asked, else it would fold too."""
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[Array] = session.run(None, feeds)
    return results


def operators(model: onnx.ModelProto) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in model.graph.node]


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    """The initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def channel_error(expected: Array, result: Array) -> float:
    """The largest over channels (axis 1) of max |difference| / max |expected|."""
    assert expected.shape == result.shape
    axes = tuple(axis for axis in range(expected.ndim) if axis != 1)
    difference = np.abs(expected - result.astype(np.float64)).max(axis=axes)
    # A channel of zeros must be met exactly.
    loudness = np.where(difference == 0, 1, np.abs(expected).max(axis=axes))
    return float((difference / loudness).max())
