"""The session of a peer: as many threads as are of use to it, none of which spins in vain."""

import os

import onnxruntime as ort

_LARGE_BYTES = 2**20  # below, a run is shorter than waking a second thread


def session(file: str, runners: int) -> ort.InferenceSession:
    """For one of `runners` that share the processors."""
    options = ort.SessionOptions()
    large = os.path.getsize(file) > _LARGE_BYTES
    options.intra_op_num_threads = max(1, (os.cpu_count() or 1) // runners) if large else 1
    if runners > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def row_shape(loaded: ort.InferenceSession) -> tuple[int, ...]:
    """The shape of one row, its batch of 1 included."""
    return (1, *loaded.get_inputs()[0].shape[1:])
