"""Zero padding before a convolution becomes the convolution's own."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from training import graph

_PADS_AS_INPUT = 11  # the opset from which Pad has its sizes as an input
_NO_OWN_RULE = ("NOTSET", "VALID")
_ALL_AXES = 3  # inputs of a Pad; a fourth names the axes that are padded
_SPATIAL = 2  # the first axis that a convolution pads


def take_padding_in(node: ir.Node) -> ir.Node | None:
    """Makes the convolution pad what a Pad before it did; that Pad, which nothing reads any more,
    or None where there is none that only adds zeros around pictures.

    A convolution may pad each side by a size of its own: the same zeros meet the same weights.
    """
    if not graph.is_op(node, "Conv") or node.inputs[0] is None:
        return None
    before = node.inputs[0].producer()
    if before is None or not graph.is_op(before, "Pad") or before.inputs[0] is None:
        return None
    added = _zeros_around(before, graph.rank(node.inputs[0]))
    own = _own(node, len(added) if added is not None else 0)
    if added is None or own is None or graph.sole_consumer(node.inputs[0]) is not node:
        return None
    node.attributes["pads"] = ir.AttrInt64s(
        "pads", [a + b for a, b in zip(own, added, strict=True)]
    )
    node.attributes.pop("auto_pad", None)
    node.replace_input_with(0, before.inputs[0])
    return before


def _own(node: ir.Node, sides: int) -> Sequence[int] | None:
    """What the convolution pads by itself; None where that follows from the size of its input."""
    rule = graph.attribute(node, "auto_pad", "NOTSET")
    if rule not in _NO_OWN_RULE:
        return None
    pads = graph.attribute(node, "pads", None) if rule == "NOTSET" else None
    return [0] * sides if pads is None else list(pads)


def _zeros_around(node: ir.Node, rank: int | None) -> list[int] | None:
    """The sizes of the spatial axes' two sides, begins first, where the Pad adds zeros there and
    nowhere else; None where it does not, or that is not known."""
    if rank is None or graph.attribute(node, "mode", "constant") != "constant":
        return None
    if graph.opset(node) < _PADS_AS_INPUT:
        pads, value = graph.attribute(node, "pads", None), graph.attribute(node, "value", 0.0)
        sizes = None if pads is None else np.array(pads)
    else:
        sizes, value = graph.constant(node.inputs[1]), _value(node)
    if sizes is None or value is None or value != 0 or len(node.inputs) > _ALL_AXES:
        return None
    if sizes.size != 2 * rank or sizes.min() < 0:
        return None
    begins, ends = sizes[:rank], sizes[rank:]
    if begins[:_SPATIAL].any() or ends[:_SPATIAL].any():
        return None
    return [int(size) for size in (*begins[_SPATIAL:], *ends[_SPATIAL:])]


def _value(node: ir.Node) -> float | None:
    """What is padded with; None where that is not known."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None:
        return 0.0
    held = graph.constant(given)
    return None if held is None or held.size != 1 else float(held.reshape(()))
