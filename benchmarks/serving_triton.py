"""Triton by way of PyTriton: `serving_triton.py NETWORK.onnx PORT INSTANCES BATCH`.

Batches without a delay; of 1, they are switched off.

It speaks the protocol that ours speaks, and is sent the same requests.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from serving_session import row_shape, session


def main(file: str, port: int, instances: int, size: int) -> None:
    """Serves until it is ended."""

    def instance() -> Any:
        loaded = session(file, instances)

        @batch
        def infer(x: Any) -> list[Any]:
            return list(loaded.run(None, {"x": x}))

        def infer_one(requests: Any) -> list[Any]:
            return [{"y": loaded.run(None, {"x": one["x"]})[0]} for one in requests]

        return infer if size > 1 else infer_one

    row = row_shape(session(file, 1))
    batching = ModelConfig(
        max_batch_size=size, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
    )
    config = TritonConfig(
        http_port=port, grpc_port=port + 1000, metrics_port=port + 2000, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=Path(file).stem,
            infer_func=[instance() for _ in range(instances)],
            inputs=[Tensor(name="x", dtype=np.float32, shape=row[size > 1 :])],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(1, -1)[size > 1 :])],
            config=batching if size > 1 else ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
