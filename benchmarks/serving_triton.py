"""Triton by way of PyTriton: `serving_triton.py NETWORK.onnx PORT INSTANCES`.

Batches without a delay.

It speaks the protocol that ours speaks, and is sent the same requests.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from serving_session import session


def main(file: str, port: int, instances: int) -> None:
    """Serves until it is ended."""

    def instance() -> Any:
        loaded = session(file, instances)

        @batch
        def infer(x: Any) -> list[Any]:
            return list(loaded.run(None, {"x": x}))

        return infer

    row = tuple(session(file, instances).get_inputs()[0].shape[1:])
    config = TritonConfig(
        http_port=port, grpc_port=port + 1000, metrics_port=port + 2000, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=Path(file).stem,
            infer_func=[instance() for _ in range(instances)],
            inputs=[Tensor(name="x", dtype=np.float32, shape=row)],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(
                max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
