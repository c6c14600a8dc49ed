"""A `.pt2` exported program: read without running what it holds, and written as ONNX.

PyTorch's own reader unpickles constants, evaluates expressions and looks operators up by any dotted
name under `torch`; so all three are looked at before it is called.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from training.errors import UnusableInput
from training.export.compare import Call, compare, leaves
from training.export.convert import name_layers, name_outputs, quiet_exporter, to_onnx
from training.export.inputs import CHECKED_ROWS, Input
from training.export.layers import first_line
from training.export.outputs import output_names
from training.provenance import Provenance

_PICKLED = ("custom_obj_", "opaque_obj_")
_OPERATOR = re.compile(r"torch\.ops\.\w+\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+")
# Sizes as sympy writes them: symbols such as `s77` and their assumptions, numbers, infinity, and
# functions of its own; no other strings, no attributes, no builtins.
_EXPRESSION = re.compile(
    r"(?:'[a-z]+\d+'|[a-z]+\d+|[a-z]+=(?:True|False)|int_oo|oo|[A-Z][A-Za-z]*|\d+(?:\.\d+)?"
    r"|[\s()+*/,<>&|~-])*"
)
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def read_program(path: Path) -> ExportedProgram:
    """The exported program; UnusableInput for what is none, or would run code to be read."""
    if not path.is_file():
        raise UnusableInput(f"{path}: expected an exported program, found no file")
    try:
        _inspect(path)
        with quiet_exporter(), _weights_only():
            return torch.export.load(path)
    except UnusableInput:
        raise
    except Exception as error:  # the reader raises whatever the damage led it to
        raise UnusableInput(
            f"{path}: expected an exported program: {type(error).__name__}: {first_line(error)}"
        ) from None


def _inspect(path: Path) -> None:
    reader = torch._C.PyTorchFileReader(str(path))
    records = reader.get_all_records()
    for record in records:
        if any(word in record for word in _PICKLED):
            raise UnusableInput(f"{path}: expected tensors only, found the object {record}")
    if "archive_format" not in records:
        raise UnusableInput(f"{path}: expected a program of torch.export.save of PyTorch 2.8 on")
    for record in records:
        if record.endswith(".json"):
            _inspect_json(json.loads(reader.get_record(record)), path)


def _inspect_json(value: object, path: Path) -> None:
    if isinstance(value, list):
        for item in value:
            _inspect_json(item, path)
    elif isinstance(value, dict):
        expression, target = value.get("expr_str"), value.get("target")
        if isinstance(expression, str) and not _EXPRESSION.fullmatch(expression):
            raise UnusableInput(f"{path}: expected sizes, got the expression '{expression[:80]}'")
        if "inputs" in value and isinstance(target, str) and not _OPERATOR.fullmatch(target):
            raise UnusableInput(f"{path}: expected PyTorch's operators, got '{target[:80]}'")
        for item in value.values():
            _inspect_json(item, path)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Whatever PyTorch unpickles meanwhile may be tensors and plain values only."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def export_program(program: ExportedProgram) -> onnx.ModelProto:
    """The program as ONNX, its free dimensions as they are; normalization layers by module path.

    Raises UnusableInput for a program that was exported in train(), or without examples.
    """
    layers = _layers(program)
    module = program.module(check_guards=False)
    inputs = _inputs(program)
    call = _call(program, inputs)
    with torch.no_grad(), quiet_exporter():
        answer = call(module)
    model = to_onnx(program, input_names=[item.name for item in inputs])
    name_outputs(model, output_names(answer))
    name_layers(model, layers, {}, layers)
    proto = ir.to_proto(model)
    compare(module, call, leaves(answer), proto)
    return proto


def _layers(program: ExportedProgram) -> dict[str, Provenance]:
    """What the program's calls of batch normalization say, by the path of their running mean."""
    buffers = program.graph_signature.inputs_to_buffers
    result: dict[str, Provenance] = {}
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op != "call_function" or "batch_norm" not in name:
            continue
        if name != "aten.batch_norm.default":
            if "no_training" not in name:
                raise UnusableInput(f"expected a program exported in eval mode, got {name}")
            momentum, mean = node.args[5], node.args[3]
        else:
            momentum, mean = node.args[6], node.args[3]
            if node.args[5]:
                raise UnusableInput("expected a program exported in eval mode, got one in train()")
        path = buffers.get(getattr(mean, "name", ""), "").rpartition(".")[0]
        if path:
            count = program.state_dict.get(f"{path}.num_batches_tracked")
            seen = None if count is None else int(count)
            result[path] = Provenance(path, float(momentum), seen, "moving average")
    return result


def _inputs(program: ExportedProgram) -> list[Input]:
    """The program's tensors: sizes of its examples, of which those without a number are free."""
    if program.example_inputs is None:
        raise UnusableInput("expected a program saved with its example inputs, found none")
    names = program.graph_signature.user_inputs
    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    examples = torch.utils._pytree.tree_leaves(program.example_inputs)
    result = []
    for name, example in zip(names, examples, strict=True):
        if not isinstance(example, torch.Tensor) or not isinstance(name, str):
            raise UnusableInput("expected a program that takes tensors only")
        free = {i for i, n in enumerate(held[name].shape) if not isinstance(n, int)}
        result.append(Input(tuple(example.shape), frozenset(free), example.dtype, name))
    return result


def _call(program: ExportedProgram, inputs: list[Input]) -> Call:
    assert program.example_inputs is not None
    positional, keywords = program.example_inputs
    generator = torch.Generator().manual_seed(0)
    drawn: list[Any] = [item.draw(CHECKED_ROWS, generator) for item in inputs]
    if len(positional) + len(keywords) != len(drawn):
        raise UnusableInput("expected a program whose arguments are tensors, not nested ones")
    return Call(
        tuple(drawn[: len(positional)]), dict(zip(keywords, drawn[len(positional) :], strict=True))
    )
