"""Resize and Upsample: nearest, linear or cubic, the line behind or before.

    resize(m·x + s) = m·resize(x) + s

The weights of an interpolation sum to one, so that a shift passes as it is; the line must be the
same along every axis that is resized. Cropping (tf_crop_and_resize) fills with a number of its own
beyond the edge, and is refused.
"""

import onnx_ir as ir

from training import graph
from training.fold.axes import integers
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Resize", "Upsample")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _refused(node, field) or on(field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it is a scale of {graph.describe(node)}")
    return _refused(node, field) or on(field)


def _refused(node: ir.Node, field: Field) -> Refusal | None:
    coordinates = graph.attribute(node, "coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        return Refusal(f"{graph.describe(node)} crops, and fills with a number of its own")
    kept = _kept_axes(node, field.rank)
    if isinstance(kept, Refusal):
        return kept
    if set(field.varies) <= kept:
        return None
    return Refusal(f"{graph.describe(node)} may resize the axis of the channels")


def _kept_axes(node: ir.Node, rank: int) -> set[int] | Refusal:
    """The axes that certainly keep their entries."""
    given = graph.attribute(node, "axes", None)
    axes = [axis % rank for axis in given] if given is not None else list(range(rank))
    untouched = set(range(rank)) - set(axes)
    scales = _scales(node)
    if isinstance(scales, Refusal):
        return scales
    if scales is not None:
        pairs = zip(axes, scales, strict=False)
        return untouched | {axis for axis, scale in pairs if scale == 1.0}
    if graph.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return Refusal(f"{graph.describe(node)} keeps the aspect ratio")
    sizes = integers(node, "sizes", 3)
    before = graph.shape(node.inputs[0]) if node.inputs[0] is not None else None
    if before is None or sizes is None or isinstance(sizes, Refusal):
        return untouched | _same_sizes(node)
    return untouched | {a for a, size in zip(axes, sizes, strict=False) if size == before[a]}


def _scales(node: ir.Node) -> list[float] | Refusal | None:
    """The factors; None where sizes are given instead."""
    given = graph.attribute(node, "scales", None)
    if given is not None:
        return [float(scale) for scale in given]
    old = node.op_type == "Upsample" or graph.opset(node) < 11
    position = 1 if old else 2
    value = node.inputs[position] if position < len(node.inputs) else None
    if value is None:
        return None
    array = graph.constant(value)
    if array is None:
        return Refusal(f"the scales of {graph.describe(node)} are computed")
    return [float(scale) for scale in array.reshape(-1)] or None


def _same_sizes(node: ir.Node) -> set[int]:
    """Axes whose size, where sizes decide, is known to stay."""
    value = node.inputs[0]
    before = graph.shape(value) if value is not None else None
    after = graph.shape(node.outputs[0])
    if before is None or after is None or len(before) != len(after):
        return set()
    return {
        axis
        for axis, (size, other) in enumerate(zip(before, after, strict=True))
        if size is not None and size == other
    }
