"""ONNX files of the user: read and checked before anything is done with them, written whole.

A network beyond protobuf's 2 GB keeps its weights in a file beside it, `NAME.onnx.data`.
"""

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, EncodeError

from training.errors import UnusableInput
from training.external_data import (
    EXTERNAL,
    all_tensors,
    external_size,
    load_external,
    move_weights_out,
)
from training.files import read_file, staged, sync, write_bytes

PROTOBUF_LIMIT = 2**31 - 1
# What a network may have beside its weights.
REST = 2**26
LARGE = 2**26


def read_onnx(path: Path) -> onnx.ModelProto:
    """The network in `path` with all its weights, valid as the ONNX checker defines it.

    Raises UnusableInput for what is not ONNX, is invalid or too new, or keeps weights where they
    may not be: anywhere but in files of the same folder.
    """
    model = onnx.ModelProto()
    data = read_file(path)
    if len(data) > PROTOBUF_LIMIT:
        raise UnusableInput(
            f"{path}: expected an ONNX file of at most 2 GB, got {len(data):,} bytes; larger "
            "networks keep their weights in a file beside it"
        )
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise UnusableInput(f"{path}: expected an ONNX file, got something else") from None
    del data
    if not model.opset_import or not model.graph.node:
        raise UnusableInput(f"{path}: expected an ONNX network, got one without nodes")
    _refuse_newer(path, model)
    load_external(model, path)
    _check(path, model)
    return model


def write_onnx(model: onnx.ModelProto, path: Path, limit: int = PROTOBUF_LIMIT - REST) -> int:
    """Writes the network whole or not at all, and returns its bytes.

    Beyond `limit` bytes its weights go into `NAME.data`. A network that was there before is taken
    away before they appear, so that it is never read with weights that are not its own.
    """
    if weights_size(model) <= limit:
        data = model.SerializeToString()
        write_bytes(path, data)
        return len(data)
    beside = path.with_name(path.name + ".data")
    light, pieces = move_weights_out(model, beside.name)
    data = light.SerializeToString()
    with staged(path) as file:
        file.write(data)
        sync(file)
        with staged(beside) as weights:
            weights.writelines(pieces)
            sync(weights)
            path.unlink(missing_ok=True)
    return len(data) + external_size(light)


def weights_size(model: onnx.ModelProto) -> int:
    """Bytes of the constants, wherever they are in the graph."""
    return sum(len(tensor.raw_data) or tensor.ByteSize() for tensor in all_tensors(model))


def file_size(model: onnx.ModelProto) -> int:
    """Bytes of the network's file; of a large one, for which protobuf would count for seconds, with
    its weights in a file beside it."""
    if weights_size(model) <= LARGE:
        return int(model.ByteSize())
    light, _ = move_weights_out(model, "")
    return int(light.ByteSize()) + external_size(light)


def session(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """The network in ONNX Runtime on the processor, of whatever size it is."""
    providers = ["CPUExecutionProvider"]
    if weights_size(model) <= PROTOBUF_LIMIT - REST:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(model, path)
        return onnxruntime.InferenceSession(path, options, providers=providers)


def _refuse_newer(path: Path, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            raise UnusableInput(
                f"{path}: expected opset 1 to {newest} of ONNX {onnx.__version__}, "
                f"got {entry.version}"
            )
    if model.ir_version > onnx.IR_VERSION:
        raise UnusableInput(
            f"{path}: expected IR version {onnx.IR_VERSION} or older, got {model.ir_version}"
        )


def _check(path: Path, model: onnx.ModelProto) -> None:
    try:
        if weights_size(model) > PROTOBUF_LIMIT - REST:
            model = _declared_only(model)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, EncodeError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "invalid")
        raise UnusableInput(
            f"{path}: expected a valid ONNX network: {reason.strip()[:300]}"
        ) from None


def _declared_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with its large weights declared as inputs, for the checker."""
    light, _ = move_weights_out(model, "weights")
    graph, inputs = light.graph, {value.name for value in light.graph.input}
    kept = [tensor for tensor in graph.initializer if tensor.data_location != EXTERNAL]
    for tensor in graph.initializer:
        if tensor.data_location == EXTERNAL and tensor.name not in inputs:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return light
