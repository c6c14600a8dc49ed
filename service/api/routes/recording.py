"""The recorded sample of a version's inputs, for re-calibration: administration, both routes."""

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.routing import Router, add_model_route, documented, documented_error
from service.errors import NotFound
from service.model import Model
from service.recording import Recording

router = Router("Recording")

_TYPE = "application/octet-stream"


async def recording(request: Request, model: Model) -> Response:
    """A random sample of the inputs that all workers have answered, as an .npz archive: arrays by
    input name, as they went into the network.

    Nothing is recorded unless FOLDSERVE_RECORD is set: inputs are data of the users.
    """
    data = await context_of(request).control.recording(_recorded(model))
    if data is None:
        raise NotFound(f"model '{model.name}' version {model.version}: no input was recorded yet")
    name = f"{model.name}-{model.version}-recording.npz"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=_TYPE, headers=headers)


async def recording_reset(request: Request, model: Model) -> Response:
    """Forgets the sample so far, in all workers, and removes its files: a new one begins."""
    _recorded(model)
    await context_of(request).control.forget_recording(model)
    return json_response({"model_name": model.name, "model_version": str(model.version)})


def _recorded(model: Model) -> Recording:
    if model.recording is None:
        raise NotFound(
            f"model '{model.name}' version {model.version}: no recording, it is switched off "
            "(FOLDSERVE_RECORD) or the inputs are texts"
        )
    return model.recording


add_model_route(
    router,
    "GET",
    "/recording",
    recording,
    summary="A sample of the inputs",
    responses={
        200: {
            "description": "An .npz archive.",
            "content": {_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    }
    | {code: documented_error(code) for code in (401, 403, 404, 405, 500, 503)},
)
add_model_route(
    router,
    "POST",
    "/recording/reset",
    recording_reset,
    summary="Begins a new sample of the inputs",
    responses=documented("RecordingReset", "What was reset.", 401, 403, 404, 503),
)
