"""Metrics for Prometheus."""

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of
from service.api.routing import Router, documented_error
from service.metrics import CONTENT_TYPE

router = Router("Metrics")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={
        200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **{code: documented_error(code) for code in (405, 500)},
    },
)
async def metrics(request: Request) -> Response:
    """The numbers of all workers, in the text format of Prometheus 0.0.4."""
    return Response(await context_of(request).control.metrics(), media_type=CONTENT_TYPE)
