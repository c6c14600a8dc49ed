"""The routes, by subject. They do not know each other.

Statistics come first: `/v2/models/stats` is not a model.
"""

from service.api.routes import (
    configuration,
    drift,
    inference,
    inspect,
    logging,
    metrics,
    normalization,
    predict,
    recording,
    repository,
    statistics,
    web,
)

ROUTERS = (
    statistics.router,
    inference.router,
    configuration.router,
    predict.router,
    inspect.router,
    normalization.router,
    drift.router,
    recording.router,
    repository.router,
    logging.router,
    metrics.router,
    web.router,
)
