"""The statistics extension of V2: what every version has done since it was loaded."""

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.routing import Router, add_model_route, documented
from service.model import Model

router = Router("Statistics")


@router.get(
    "/v2/models/stats",
    summary="What all models have done",
    responses=documented("Statistics", "One entry a version that can answer."),
)
async def all_statistics(request: Request) -> Response:
    """Counts and nanoseconds of every version that can answer, since it was loaded."""
    models = [entry.model for entry in context_of(request).registry.index() if entry.model]
    return await _answer(request, models)


async def statistics(request: Request, model: Model) -> Response:
    """Counts and nanoseconds: of every ready version of the model, or of the one in the path."""
    if "model_version" in request.path_params:
        return await _answer(request, [model])
    registry = context_of(request).registry
    versions = [registry.get(model.name, str(v)) for v in registry.versions(model.name)]
    return await _answer(request, versions)


async def _answer(request: Request, models: list[Model]) -> Response:
    return json_response({"model_stats": await context_of(request).control.statistics(models)})


add_model_route(
    router,
    "GET",
    "/stats",
    statistics,
    summary="What a model has done",
    responses=documented("Statistics", "One entry a version.", 404, 503),
)
