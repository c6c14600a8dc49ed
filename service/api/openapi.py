"""The OpenAPI document, put together from the table of routes when it is first asked for."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from service import __version__
from service.api import drift_schemas, operation_schemas, schemas
from service.api.guard import Guard, is_administration, is_open
from service.api.routing import Entry, documented_error

_INFO = {
    "title": "foldserve",
    "description": (
        "A model server for networks trained with batch normalization. It speaks the Open "
        "Inference Protocol V2, takes pictures and plain rows, and shows what every normalization "
        "layer holds."
    ),
    "version": __version__,
}
_PATH_PARAMETERS = {
    "model_name": ("Name of the model.", "digits"),
    "model_version": ("A positive integer.", "1"),
    "layer": ("Name of the layer in the original network.", "features.1"),
}
# Named by the routes, which read and write bytes.
_BODIES = (
    schemas.InferRequest,
    schemas.PredictRequest,
    operation_schemas.RepositoryIndexRequest,
    operation_schemas.LoadRequest,
    operation_schemas.UnloadRequest,
    operation_schemas.LogSettingsRequest,
)
_ANSWERS = (
    schemas.Error,
    schemas.ServerMetadata,
    schemas.Live,
    schemas.ServerReady,
    schemas.Models,
    schemas.ModelMetadata,
    schemas.ModelReady,
    schemas.InferResponse,
    schemas.PredictResponse,
    schemas.NormalizationReport,
    schemas.LayerArrays,
    operation_schemas.LogSettings,
    operation_schemas.Statistics,
    operation_schemas.ModelConfig,
    operation_schemas.RepositoryEntry,
    operation_schemas.Loaded,
    operation_schemas.Unloaded,
    drift_schemas.Drift,
    drift_schemas.DriftReset,
    drift_schemas.Inspection,
    operation_schemas.RecordingReset,
    drift_schemas.DriftOfLayer,
    drift_schemas.DriftHistory,
)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the key."},
}


def make_document(table: Iterable[Entry], guard: Guard) -> dict[str, Any]:
    """OpenAPI 3.1: the operations of the table, and the objects that they name."""
    paths: dict[str, dict[str, Any]] = {}
    for entry in table:
        if entry.operation is not None:
            operation = dict(entry.operation)
            parameters = [*_path_parameters(entry.template), *operation.get("parameters", ())]
            operation |= {"parameters": parameters} if parameters else {}
            paths.setdefault(entry.template, {})[entry.method.lower()] = operation
    _, models = models_json_schema(
        [
            *((model, "validation") for model in _BODIES),
            *((model, "serialization") for model in _ANSWERS),
        ],
        ref_template="#/components/schemas/{model}",
    )
    document = {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": models["$defs"]},
    }
    if guard.api or guard.admin:
        _add_keys(document, guard)
    return document


def _path_parameters(path: str) -> list[dict[str, Any]]:
    found = []
    for name in re.findall(r"{(\w+)}", path):
        description, example = _PATH_PARAMETERS[name]
        schema = {"type": "string", "examples": [example]}
        found.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": schema,
                "description": description,
            }
        )
    return found


def _add_keys(document: dict[str, Any], guard: Guard) -> None:
    """Says of each operation whether it asks for a key, and of which kinds keys are."""
    document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            admin = is_administration(method.upper(), path)
            if not admin and (is_open(path) or not guard.api):
                continue
            operation["security"] = [{name: []} for name in _SCHEMES]
            operation["responses"] = operation["responses"] | {"401": documented_error(401)}
