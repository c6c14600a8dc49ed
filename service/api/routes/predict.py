"""The friendly door: pictures or plain rows in, labels or plain numbers out."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from service.api import schemas
from service.api.bodies import limited_stream, parse_json, read_body
from service.api.dependencies import Context, context_of, json_response
from service.api.elements import from_json, json_kind
from service.api.routing import add_model_route, documented
from service.errors import InvalidRequest, UnsupportedType, shorten
from service.model import Model
from service.preprocessing import looks_like_picture, picture_input
from service.tensors import Array, TensorSpec, check_rows, check_shape

router = APIRouter(tags=["Predict"])

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/png": _PICTURE,
            "image/jpeg": _PICTURE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/PredictRequest"}},
        },
    }
}


async def predict(request: Request, model: Model) -> Response:
    """One prediction for a picture, or one for each of `instances`.

    A picture goes through the bundle's preprocessing; instances go into the network as they are.
    A model with labels answers the best class; any other answers its outputs.
    """
    inputs = await _inputs(request, model)
    outputs = await model.predict(inputs)
    labels = model.manifest.labels
    return json_response(
        {
            "model_name": model.name,
            "model_version": str(model.version),
            "predictions": _plain(outputs) if labels is None else _labelled(model, outputs),
        }
    )


async def _inputs(request: Request, model: Model) -> dict[str, Array]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    context = context_of(request)
    if kind == "application/json":
        return _instances(model.inputs, parse_json(await read_body(request), context.limits.json))
    if kind == "multipart/form-data":
        return await _picture(context, model, await _file_field(request))
    body = await read_body(request)
    if kind.startswith("image/") or not body or looks_like_picture(body):
        return await _picture(context, model, body)
    raise UnsupportedType(
        "request body: expected an image, multipart/form-data or application/json, "
        f"got '{shorten(kind)}'"
    )


async def _picture(context: Context, model: Model, data: bytes) -> dict[str, Array]:
    how = model.manifest.preprocessing
    if how is None:
        raise UnsupportedType(
            f"model '{model.name}': expected application/json with 'instances', got a picture, "
            "for which its bundle has no preprocessing"
        )
    loop = asyncio.get_running_loop()
    array = await loop.run_in_executor(
        context.executor, picture_input, data, how, context.limits.image_pixels
    )
    spec = model.inputs[0]
    check_shape(spec, array.shape)
    return {spec.name: array}


class _InMemory(MultiPartParser):
    """Keeps files in memory, where the limit on the body bounds them: nothing is written."""

    spool_max_size = 0  # of a spooled file: never rolled over to the disk


async def _file_field(request: Request) -> bytes:
    parser = _InMemory(request.headers, limited_stream(request), max_files=1, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest(
            f"request body: expected multipart/form-data with one file ({shorten(error)})"
        ) from None
    file = form.get("file")
    if not isinstance(file, UploadFile):
        await form.close()
        raise InvalidRequest("request body: expected a file in the form field 'file', got none")
    data = await file.read()
    await form.close()
    return data


def _instances(specs: tuple[TensorSpec, ...], document: object) -> dict[str, Array]:
    rows = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        got = "an empty list" if rows == [] else json_kind(document)
        raise InvalidRequest(
            f"request body: expected an object with a list 'instances' of rows, got {got}"
        )
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


def _plain(outputs: Mapping[str, Array]) -> list[Any]:
    """One entry a row: the row of the only output, or of each by name."""
    columns = {name: [np.ascontiguousarray(row) for row in a] for name, a in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, rows, strict=True)) for rows in zip(*columns.values(), strict=True)]


def _labelled(model: Model, outputs: Mapping[str, Array]) -> list[dict[str, object]]:
    scores = outputs[model.outputs[0].name].astype(np.float64)
    if model.manifest.output_activation == "softmax":
        scores = softmax(scores)
    return [_best(model.manifest.labels or (), row) for row in scores]


def softmax(scores: Array) -> Array:
    """exp(s) / Σ exp(s) over the last axis, shifted by the maximum so that nothing overflows."""
    with np.errstate(invalid="ignore"):  # ∞ - ∞ in a row that holds an infinity: NaN, as it is
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _best(labels: tuple[str, ...], row: Array) -> dict[str, object]:
    if not np.isfinite(row).all():
        return {"label": None, "index": None, "probability": None}
    index = int(np.argmax(row))
    label = labels[index] if index < len(labels) else None  # where the number of scores is free
    return {"label": label, "index": index, "probability": float(row[index])}


add_model_route(
    router,
    "POST",
    "/predict",
    predict,
    summary="Prediction for a picture or for plain rows",
    responses=documented(schemas.PredictResponse, "One a row.", 400, 404, 413, 415, 503),
    openapi_extra=_BODY,
)
