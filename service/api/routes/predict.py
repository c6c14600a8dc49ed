"""The friendly door: pictures or plain rows in, labels or plain numbers out."""

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.nonfinite import find_nonfinite
from service.api.predictions import PREDICTION_BODY, predictions_of, read_rows
from service.api.routing import RUN_ERRORS, Router, add_model_route, documented
from service.model import Model

router = Router("Predict")


async def predict(request: Request, model: Model) -> Response:
    """One prediction for each picture, or for each of `instances`.

    A picture goes through the bundle's preprocessing; numeric instances go in as they are. A model
    with labels answers the best class, and with `top_k` the best ones; any other its outputs.
    """
    inputs, top_k = await read_rows(request, model)
    outputs = await model.predict(inputs)
    found = await find_nonfinite(context_of(request), model, inputs, list(outputs.values()))
    return json_response(
        {
            "model_name": model.name,
            "model_version": str(model.version),
            **({} if found is None else {"parameters": found.parameters()}),
            "predictions": predictions_of(model, outputs, top_k, found),
        }
    )


add_model_route(
    router,
    "POST",
    "/predict",
    predict,
    summary="Prediction for a picture or for plain rows",
    responses=documented("PredictResponse", "One a row.", *RUN_ERRORS),
    extra=PREDICTION_BODY,
)
