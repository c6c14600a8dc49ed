"""The friendly door: pictures or plain rows in, labels or plain numbers out.

What `/predict` and `/inspect` have in common: the same bodies, and the same words for an answer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request

from service.api.bodies import parse_json, read_body
from service.api.dependencies import Context, context_of
from service.api.elements import from_json, json_kind
from service.api.nonfinite import Nonfinite
from service.api.outputs import descending
from service.api.pictures import (
    base64_pictures,
    form_files,
    is_base64,
    looks_like_picture,
    picture_inputs,
)
from service.errors import InvalidRequest, UnsupportedType, shorten
from service.model import Model
from service.tensors import Array, TensorSpec, check_rows, check_shape

_MOST_CLASSES = 1000  # of one answer, for each row
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
PREDICTION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/png": _PICTURE,
            "image/jpeg": _PICTURE,
            "image/webp": _PICTURE,
            "image/gif": _PICTURE,
            "image/bmp": _PICTURE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                        }
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/PredictRequest"}},
        },
    },
    "parameters": [
        {
            "name": "top_k",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_CLASSES},
            "description": "How many classes to answer for each row, the most probable first.",
        }
    ],
}


async def read_rows(request: Request, model: Model) -> tuple[dict[str, Array], int | None]:
    """The inputs that a body asks about, and its `top_k`; InvalidRequest, UnsupportedType."""
    context, top_k = context_of(request), _top_k(request.query_params.get("top_k"))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        document = parse_json(await read_body(request), context.limits.json)
        if isinstance(document, dict) and "top_k" in document:
            top_k = _top_k(document["top_k"])
        inputs = await _instances(context, model, document)
    elif kind == "multipart/form-data":
        inputs = await picture_inputs(context, model, await form_files(request))
    else:
        inputs = await _picture(context, model, kind, await read_body(request))
    if top_k is not None and model.manifest.labels is None:
        raise InvalidRequest(f"'top_k': expected none, because model '{model.name}' has no labels")
    return inputs, top_k


def predictions_of(
    model: Model,
    outputs: Mapping[str, Array],
    top_k: int | None,
    nonfinite: Nonfinite | None = None,
) -> list[Any]:
    """One entry a row: the best class, or the best ones, of a model with labels; or its outputs.

    Of a row that is not finite, what `nonfinite` says.
    """
    if model.manifest.labels is None:
        return _plain(outputs)
    return list(_labelled(model, outputs, top_k, nonfinite or Nonfinite(0, None)))


def _top_k(value: object) -> int | None:
    if value is None:
        return None
    decimal = isinstance(value, str) and len(value) < 6 and value.isascii() and value.isdecimal()
    number = int(str(value)) if decimal else value
    if type(number) is not int or not 1 <= number <= _MOST_CLASSES:
        raise InvalidRequest(
            f"'top_k': expected an integer from 1 to {_MOST_CLASSES}, got '{shorten(value)}'"
        )
    return number


async def _picture(context: Context, model: Model, kind: str, body: bytes) -> dict[str, Array]:
    if kind.startswith("image/") or not body or looks_like_picture(body):
        return await picture_inputs(context, model, [body])
    raise UnsupportedType(
        "request body: expected an image, multipart/form-data or application/json, "
        f"got '{shorten(kind)}'"
    )


async def _instances(context: Context, model: Model, document: object) -> dict[str, Array]:
    rows = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        got = "an empty list" if rows == [] else json_kind(document)
        raise InvalidRequest(
            f"request body: expected an object with a list 'instances' of rows, got {got}"
        )
    if is_base64(rows[0]) and "b64" not in {spec.name for spec in model.inputs}:
        return await picture_inputs(context, model, base64_pictures(rows))
    return _rows(model.inputs, rows)


def _rows(specs: tuple[TensorSpec, ...], rows: list[Any]) -> dict[str, Array]:
    if len(specs) == 1 and not isinstance(rows[0], dict):
        columns: Mapping[str, list[Any]] = {specs[0].name: rows}
    else:
        columns = {spec.name: [_value(spec.name, row) for row in rows] for spec in specs}
    arrays = {spec.name: _column(spec, columns[spec.name]) for spec in specs}
    check_rows(arrays)
    return arrays


def _value(name: str, row: object) -> Any:
    if not isinstance(row, dict) or name not in row:
        raise InvalidRequest(
            f"instances: expected in each an object with input '{name}', got {json_kind(row)}"
        )
    return row[name]


def _column(spec: TensorSpec, rows: list[Any]) -> Array:
    shape, level = [len(rows)], rows[0]
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    check_shape(spec, tuple(shape))
    return from_json(spec, tuple(shape), rows)


def _row(row: Array) -> object:
    return row.tolist() if row.dtype.kind == "O" else np.ascontiguousarray(row)


def _plain(outputs: Mapping[str, Array]) -> list[Any]:
    """One entry a row: the row of the only output, or of each by name."""
    columns = {name: [_row(row) for row in a] for name, a in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, rows, strict=True)) for rows in zip(*columns.values(), strict=True)]


def _labelled(
    model: Model, outputs: Mapping[str, Array], top_k: int | None, nonfinite: Nonfinite
) -> list[dict[str, object] | list[dict[str, object]]]:
    scores = outputs[model.outputs[0].name].astype(np.float64)
    if model.manifest.output_activation == "softmax":
        scores = softmax(scores)
    labels = model.manifest.labels or ()
    fault = nonfinite.sentence()
    ranked = [_ranked(labels, row, top_k or 1, fault) for row in scores]
    return [row[0] for row in ranked] if top_k is None else list(ranked)


def softmax(scores: Array) -> Array:
    """exp(s) / Σ exp(s) over the last axis, shifted by the maximum so that nothing overflows."""
    with np.errstate(invalid="ignore"):  # ∞ - ∞ in a row that holds an infinity: NaN, as it is
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _ranked(labels: tuple[str, ...], row: Array, top_k: int, fault: str) -> list[dict[str, object]]:
    if not np.isfinite(row).all():
        return [{"label": None, "index": None, "probability": None, "error": fault}]
    return [
        {
            # Where the number of scores is free, there may be more of them than labels.
            "label": labels[index] if index < len(labels) else None,
            "index": int(index),
            "probability": float(row[index]),
        }
        for index in descending(row)[:top_k]
    ]
