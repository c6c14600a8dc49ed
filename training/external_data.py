"""Weights outside an ONNX file: read only from the file's own folder, written to one file beside.

A location is what somebody else wrote; it may not lead out of the folder, by `..`, by an absolute
path or by a link, and what it says of offset and length has to fit the file and the tensor.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import TensorProto

from training.errors import UnusableInput

EXTERNAL = TensorProto.EXTERNAL
_ALIGNMENT = 4096  # pages, so that a runtime can map what it reads
_SMALL = 1024  # bytes: shapes and scalars stay in the file
_MOST = 2**31 - 1  # bytes of one tensor that protobuf can hold


def all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every constant of the network: initializers and attributes, in subgraphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _of_graph(graph)


def load_external(model: onnx.ModelProto, path: Path) -> None:
    """Brings the weights outside the file `path` into the model, or raises UnusableInput."""
    for tensor in all_tensors(model):
        if tensor.data_location == EXTERNAL:
            _load(tensor, path)


def _load(tensor: TensorProto, path: Path) -> None:
    said = {entry.key: entry.value for entry in tensor.external_data}
    place = f"{path}: tensor '{tensor.name}'"
    file = _inside(path.parent, said.get("location", ""), place)
    size, needed = file.stat().st_size, _bytes_of(tensor, place)
    try:
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or size - offset)
    except ValueError:
        raise UnusableInput(f"{place}: expected numbers as offset and length, got {said}") from None
    if offset < 0 or offset + needed > size or length != needed:
        raise UnusableInput(
            f"{place}: expected {needed:,} bytes, got {length:,} from {offset:,} of the "
            f"{size:,} of {file.name}"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(needed)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _inside(folder: Path, location: str, place: str) -> Path:
    """The file in the folder; UnusableInput where it is elsewhere or missing."""
    named = Path(location)
    try:
        found = (folder / named).resolve()
        leaves = not found.is_relative_to(folder.resolve())
        missing = not found.is_file()
    except (OSError, ValueError, RuntimeError):  # a loop of links; a null in the name
        leaves, missing = False, True
    if not location or named.is_absolute() or ".." in named.parts or leaves:
        raise UnusableInput(
            f"{place}: expected weights in a file of the same folder, got {location!r}"
        )
    if missing:
        raise UnusableInput(f"{place}: expected weights in {location}, found no such file")
    return found


def _bytes_of(tensor: TensorProto, place: str) -> int:
    """What the tensor's type and shape need."""
    count = 1
    for size in tensor.dims:
        count *= size
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (ValueError, TypeError):
        raise UnusableInput(f"{place}: expected a type of numbers outside the file") from None
    needed = -(-count * bits // 8)
    if count < 0 or needed > _MOST:
        raise UnusableInput(f"{place}: expected at most 2 GB, got shape {list(tensor.dims)}")
    return needed


def move_weights_out(
    model: onnx.ModelProto, location: str
) -> tuple[onnx.ModelProto, Iterator[bytes]]:
    """The network without its large weights, which are to be in the file `location`, and the pieces
    of that file. The model itself is not changed, nor are its weights copied."""
    light = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _assign(light, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _assign(light.graph, field.name, value)
    offset, moved = 0, list[TensorProto]()
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= _SMALL:
            light.graph.initializer.append(tensor)
            continue
        kept = light.graph.initializer.add(
            name=tensor.name, data_type=tensor.data_type, doc_string=tensor.doc_string
        )
        kept.dims.extend(tensor.dims)
        kept.data_location = EXTERNAL
        length = len(tensor.raw_data)
        for key, said in (("location", location), ("offset", offset), ("length", length)):
            kept.external_data.add(key=key, value=str(said))
        offset += length + -length % _ALIGNMENT
        moved.append(tensor)
    return light, _pieces(moved)


def _assign(message: onnx.ModelProto | onnx.GraphProto, name: str, value: object) -> None:
    held = getattr(message, name)
    if isinstance(value, str | int | float | bytes):
        setattr(message, name, value)
    else:
        held.extend(value) if hasattr(held, "extend") else held.CopyFrom(value)


def _pieces(tensors: Iterable[TensorProto]) -> Iterator[bytes]:
    for tensor in tensors:
        yield tensor.raw_data
        yield bytes(-len(tensor.raw_data) % _ALIGNMENT)


def external_size(model: onnx.ModelProto) -> int:
    """Bytes of the weights outside the file."""
    outside = (t for t in all_tensors(model) if t.data_location == EXTERNAL)
    return sum(int(e.value) for t in outside for e in t.external_data if e.key == "length")
