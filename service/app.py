"""The application: wires the rooms, and owns what lives as long as the process serves."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from service import __version__
from service.api import documentation, errors
from service.api.dependencies import Context
from service.api.routes import ROUTERS
from service.batching import QueueLimits
from service.registry import load_registry
from service.settings import Settings

logger = logging.getLogger(__name__)

_DESCRIPTION = (
    "A model server for networks trained with batch normalization. It speaks the Open Inference "
    "Protocol V2, takes pictures and plain rows, and shows what every normalization layer holds."
)


def create_app(settings: Settings, on_loaded: Callable[[], None] = lambda: None) -> FastAPI:
    """The application for these settings.

    Models are loaded when its lifespan begins; `on_loaded` is called before the first request.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = settings.threads_per_worker()
        logger.info("settings: %s threads_per_worker=%d", _listed(settings), threads)
        started = time.perf_counter()
        limits = _queue_limits(settings)
        registry = load_registry(settings.models, threads, limits, settings.required_models)
        logger.info(
            "serving %d of %d versions after %.2f s: %s",
            sum(entry.model is not None for entry in registry.index()),
            len(registry.index()),
            time.perf_counter() - started,
            "ready" if registry.ready else "not ready",
        )
        on_loaded()
        with closing(registry), ThreadPoolExecutor(threads, "work") as executor:
            app.state.context = Context(
                registry, executor, settings.max_body_bytes, settings.max_image_pixels
            )
            yield

    app = FastAPI(
        title="foldserve",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    documentation.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _queue_limits(settings: Settings) -> QueueLimits:
    return QueueLimits(
        max_batch_rows=settings.max_batch_rows,
        batch_delay_s=settings.batch_delay_ms / 1000,
        max_queue_rows=settings.max_queue_rows,
        queue_timeout_s=settings.queue_timeout_s,
    )


def _listed(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.model_dump().items())
