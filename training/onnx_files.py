"""ONNX files of the user: read and checked before anything is done with them."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from training.errors import UnusableInput
from training.files import read_file

EXTERNAL = onnx.TensorProto.EXTERNAL


def read_onnx(path: Path) -> onnx.ModelProto:
    """The network in `path`, valid as the ONNX checker defines it.

    Raises UnusableInput for what is not ONNX, is invalid, or keeps weights outside the file.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_file(path))
    except DecodeError:
        raise UnusableInput(f"{path}: expected an ONNX file, got something else") from None
    if not model.opset_import or not model.graph.node:
        raise UnusableInput(f"{path}: expected an ONNX network, got one without nodes")
    outside = [t.name for t in model.graph.initializer if t.data_location == EXTERNAL]
    if outside:
        raise UnusableInput(
            f"{path}: expected weights inside the file, got {len(outside)} outside it, "
            f"such as '{outside[0]}'"
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnusableInput(f"{path}: expected a valid ONNX network: {reason}") from None
    return model
