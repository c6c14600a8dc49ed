"""The routes, by subject. They do not know each other."""

from service.api.routes import inference, metrics, normalization, predict, repository

ROUTERS = (
    inference.router,
    predict.router,
    normalization.router,
    repository.router,
    metrics.router,
)
