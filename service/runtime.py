"""Running a network: the protocol that the model room sees, and ONNX Runtime behind it.

Knows nothing of bundles, requests or threads of ours; `run` may be called from any thread.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import onnxruntime as ort

from service.errors import BadBundle, InferenceFailed, shorten
from service.tensors import Array, TensorSpec

# ONNX Runtime's element types, in the words of the protocol.
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_LOG_ERRORS_ONLY = 3
# "[ONNXRuntimeError] : 1 : FAIL : " and "tensorprotoutils.cc:461 FunctionName " say nothing to
# the reader of a sentence.
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S+\.(?:cc|h):\d+ \S+ ")


class Runtime(Protocol):
    """A network that can be run."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the network takes, -1 for every free dimension."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the network gives."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name; raises InferenceFailed."""


class OnnxRuntime:
    """A network in ONNX Runtime, on the CPU, from the bytes of a self-contained ONNX file."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Raises BadBundle when the model cannot be loaded, or reads from outside itself."""
        try:
            self._session = ort.InferenceSession(
                model, _options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise BadBundle(f"the network cannot be loaded: {_sentence(error)}") from None
        self.inputs = _specs("input", self._session.get_inputs())
        self.outputs = _specs("output", self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name; raises InferenceFailed."""
        try:
            answers = self._session.run(self._names, inputs)
        except Exception as error:  # as above
            raise InferenceFailed(f"the network failed on its input: {_sentence(error)}") from None
        return dict(zip(self._names, answers, strict=True))

    def release_memory(self, inputs: Mapping[str, Array]) -> None:
        """Runs once more, and gives back the working memory of runs larger than the first."""
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session.run(self._names, inputs, options)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Spinning helps only where the pool owns the machine: under a quota, in a cpuset or beside
    # other workers it burns the time that someone else needs. After a run it helps nobody.
    spin = threads > 1 and threads >= (os.cpu_count() or 1)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # External data of a model given as bytes would be looked for in the working directory.
    # In a folder that cannot exist, none is found, and loading is refused.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/nonexistent"
    )
    return options


def _specs(kind: str, nodes: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(kind, node) for node in nodes)


def _spec(kind: str, node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        expected = ", ".join(_DATATYPES.values())
        raise BadBundle(f"{kind} '{node.name}': expected one of {expected}; got {node.type}")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    try:
        return TensorSpec(node.name, datatype, shape)
    except ValueError as error:
        raise BadBundle(f"{kind} {error}") from None


def _sentence(error: Exception) -> str:
    return shorten(" ".join(_NOISE.sub("", str(error)).split()), 300)
