"""What the weights of a node tell of its output's shape, where nothing is known of its input."""

import onnx

_BY_WEIGHT = ("Conv", "ConvTranspose", "Gemm")  # whose output has the rank of the weight


def declare_by_weights(light: onnx.GraphProto, inferred: onnx.GraphProto) -> bool:
    """Declares it for every such output in `light`, given what was inferred for `light`; whether
    there was any. Behind a custom operator shape inference knows nothing, but a convolution's rank
    and channels are those of its weights."""
    values = (*inferred.value_info, *inferred.output, *inferred.input)
    known = {v.name for v in values if v.type.tensor_type.HasField("shape")}
    weights = {t.name: (t.data_type, list(t.dims)) for t in light.initializer}
    weights |= {v.name: _declared(v.type.tensor_type) for v in light.input}
    found = list[onnx.ValueInfoProto]()
    for node in light.node:
        if node.op_type not in _BY_WEIGHT or node.output[0] in known:
            continue
        dtype, weight = weights.get(node.input[1], (0, []))
        if len(weight) >= 2:
            dims = _dims_by_weight(node, weight)
            found.append(onnx.helper.make_tensor_value_info(node.output[0], dtype, dims))
    light.value_info.extend(found)
    return bool(found)


def _dims_by_weight(node: onnx.NodeProto, weight: list[int]) -> list[int | None]:
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Gemm":
        return [None, weight[0 if attributes.get("transB") else 1]]
    grouped = weight[1] * attributes.get("group", 1)
    channels = weight[0] if node.op_type == "Conv" else grouped
    return [None, channels, *[None] * (len(weight) - 2)]


def _declared(tensor: onnx.TypeProto.Tensor) -> tuple[int, list[int]]:
    return tensor.elem_type, [dimension.dim_value for dimension in tensor.shape.dim]
