"""Lists of sizes that a network computes: [N, 2, C/2, …] of the shape of a tensor, for a Reshape.

A size is a number, the name of a free size, or None where it is not known.
"""

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from math import prod

import onnx_ir as ir

from training import graph
from training.graph import Dims

_FURTHEST = 24  # nodes between a Shape and its Reshape
_HANDED_ON = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape")
_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": lambda a, b: a // b,
}


def reshaped(node: ir.Node) -> Dims | None:
    """The shape that a Reshape makes, as far as it can be read; None if not even its length."""
    data, target = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    before = graph.shape(data) if data is not None else None
    wanted = _list(target, _FURTHEST) if target is not None else None
    if wanted is None:
        return None
    copied = not graph.attribute(node, "allowzero", 0)
    dims = [
        (before[axis] if before is not None and axis < len(before) else None)
        if size == 0 and copied
        else size
        for axis, size in enumerate(wanted)
    ]
    if dims.count(-1) == 1:
        dims[dims.index(-1)] = _rest(before, [size for size in dims if size != -1])
    return tuple(dims) if not any(isinstance(size, int) and size < 0 for size in dims) else None


def _rest(before: Dims | None, others: list[int | str | None]) -> int | str | None:
    """What -1 stands for: the entries that the other sizes leave."""
    if before is None or None in before or None in others:
        return None
    left = Counter(size for size in before if isinstance(size, str))
    taken = Counter(size for size in others if isinstance(size, str))
    entries = prod(size for size in before if isinstance(size, int))
    known = prod(size for size in others if isinstance(size, int))
    free = list((left - taken).elements())
    if taken - left or known == 0 or entries % known:
        return None
    if not free:
        return entries // known
    return free[0] if len(free) == 1 and entries == known else None


def _list(value: ir.Value | None, steps: int) -> list[int | str | None] | None:
    """The entries of a list of sizes, or the one of a single size; None if it is unreadable."""
    held = graph.constant(value)
    if held is not None:
        return [int(size) for size in held.reshape(-1)] if held.dtype.kind in "iu" else None
    node = value.producer() if value is not None else None
    if node is None or steps == 0:
        return None
    if graph.is_op(node, "Shape"):
        dims = graph.shape(node.inputs[0]) if node.inputs[0] is not None else None
        start, end = graph.attribute(node, "start", 0), graph.attribute(node, "end", None)
        return list(dims[start:end]) if dims is not None else None
    lists = [_list(given, steps - 1) for given in _sources(node)]
    if not lists or any(given is None for given in lists):
        return None
    return _combined(node, [given for given in lists if given is not None])


def _sources(node: ir.Node) -> list[ir.Value | None]:
    if graph.is_op(node, *_HANDED_ON, "Gather", "Slice"):
        return list(node.inputs[:1])
    return list(node.inputs) if graph.is_op(node, "Concat", *_ARITHMETIC) else []


def _combined(node: ir.Node, lists: list[list[int | str | None]]) -> list[int | str | None] | None:
    first = lists[0]
    if graph.is_op(node, *_HANDED_ON):
        return first
    if graph.is_op(node, "Concat"):
        return [size for given in lists for size in given]
    if graph.is_op(node, "Gather"):
        places = graph.constant(node.inputs[1])
        try:
            return None if places is None else [first[int(k)] for k in places.reshape(-1)]
        except IndexError:
            return None
    if graph.is_op(node, "Slice"):
        cut = _slice(node)
        return first[cut] if cut is not None else None
    return _calculated(_ARITHMETIC[node.op_type], lists)


def _slice(node: ir.Node) -> slice | None:
    if len(node.inputs) < 3:
        given = [graph.attribute(node, name, None) for name in ("starts", "ends")]
        ends = [int(array[0]) for array in given if array is not None and len(array) == 1]
        return slice(*ends) if len(ends) == 2 else None
    numbers: list[int] = []
    for position in (1, 2, 4):
        if position >= len(node.inputs) or node.inputs[position] is None:
            continue
        held = graph.constant(node.inputs[position])
        if held is None or held.size != 1:
            return None
        numbers.append(int(held.reshape(-1)[0]))
    return slice(*numbers) if 0 not in numbers[2:] else None


def _calculated(
    combine: Callable[[int, int], int], lists: list[list[int | str | None]]
) -> list[int | str | None] | None:
    longest = max(map(len, lists))
    if any(len(given) not in (1, longest) for given in lists) or len(lists) != 2:
        return None
    first, second = (given * (longest // len(given)) for given in lists)
    by_zero = combine is _ARITHMETIC["Div"] and 0 in second
    return [
        combine(a, b) if isinstance(a, int) and isinstance(b, int) and not by_zero else None
        for a, b in zip(first, second, strict=True)
    ]
