"""Running a network on rows: what it takes, and ONNX Runtime behind it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from training.doctor.finding import NotChecked
from training.graph import Array


@dataclass(frozen=True, slots=True)
class Input:
    """What the network takes under a name; a free dimension is None."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]

    @property
    def batched(self) -> bool:
        """Whether rows can be put together along the first dimension."""
        return bool(self.shape) and self.shape[0] is None


class Runner(Protocol):
    """A network that can be run; `run` raises NotChecked where it cannot."""

    @property
    def inputs(self) -> tuple[Input, ...]: ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...


class OnnxRunner:
    """ONNX Runtime on the processor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base below Exception
            raise NotChecked(f"a network that ONNX Runtime runs: {_line(error)}") from None
        self.inputs = inputs_of(model)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name."""
        try:
            answers = self._session.run(self._names, dict(feeds))
        except Exception as error:  # as above
            raise NotChecked(f"a network that runs on the rows: {_line(error)}") from None
        return dict(zip(self._names, answers, strict=True))


def inputs_of(model: onnx.ModelProto) -> tuple[Input, ...]:
    """What a caller must give; NotChecked for a type that no array has."""
    stored = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in stored]
    return tuple(_input(value) for value in given)


def _input(value: onnx.ValueInfoProto) -> Input:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or tensor.elem_type == onnx.TensorProto.STRING:
        raise NotChecked(f"input '{value.name}' as numbers of a declared shape")
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Input(value.name, np.dtype(ir.DataType(tensor.elem_type).numpy()), shape)


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else f"{words[:199]}…"
