"""BatchNormalization at inference."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from training.graph import Array


class BatchNormalization(OpRun):
    """For every opset; the evaluator's own takes inference below opset 14 for training."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **given: Any
    ) -> tuple[Array, ...]:
        if len(self.onnx_node.output) > 1 or given.get("training_mode"):
            raise ValueError("BatchNormalization that normalizes by its own batch")
        # spatial=0 (before opset 9) has parameters of shape [C, D1, …]
        shape = (1, *scale.shape, *[1] * (x.ndim - 1 - scale.ndim))
        scale, bias, mean, var = (array.reshape(shape) for array in (scale, bias, mean, var))
        epsilon = given.get("epsilon")
        deviation: NDArray[np.float64] = np.sqrt(var + (1e-5 if epsilon is None else epsilon))
        return ((x - mean) / deviation * scale + bias,)
