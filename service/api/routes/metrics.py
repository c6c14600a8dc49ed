"""Metrics for Prometheus."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.api.dependencies import context_of
from service.api.routing import documented_error
from service.metrics import CONTENT_TYPE

router = APIRouter(tags=["Metrics"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={405: documented_error(405), 500: documented_error(500)},
)
async def metrics(request: Request) -> Response:
    """The numbers of all workers, in the text format of Prometheus 0.0.4."""
    return Response(await context_of(request).control.metrics(), media_type=CONTENT_TYPE)
