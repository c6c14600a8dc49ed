"""The application: wires the rooms, and owns what lives as long as the process serves."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service.alarms import Alarms
from service.api import documentation, errors
from service.api.codec import LENGTH_HEADER
from service.api.dependencies import Context, JsonLimits, Limits
from service.api.gate import Doorkeeper, Gate
from service.api.guard import Guard, digests
from service.api.hot import HotDoor
from service.api.routes import ROUTERS
from service.batching import QueueLimits
from service.control import Control
from service.drift.state import StateFolder
from service.logs import Log
from service.peers import Peers
from service.recording import Recorder, RecordLimits
from service.registry import load_registry
from service.settings import MEBIBYTE, Settings
from service.watch import Watcher, WatchLimits
from service.webhook import Webhook

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    on_loaded: Callable[[], None] = lambda: None,
    log: Log | None = None,
    peers: Peers | None = None,
) -> FastAPI:
    """The application for these settings.

    Models are loaded when its lifespan begins; `on_loaded` is called before the first request.
    `log` is the handler that the logging extension of the protocol changes, where there is one.
    """
    guard = Guard(
        digests(settings.keys("api_keys")), digests(settings.keys("admin_keys")), settings.local
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = settings.threads_per_worker()
        logger.info("settings: %s threads_per_worker=%d", _listed(settings), threads)
        started = time.perf_counter()
        limits = _queue_limits(settings)
        workers = peers or Peers()
        watcher = Watcher(_watch_limits(settings), state=_state(settings, workers.number))
        recorder = Recorder(_record_limits(settings), workers.number)
        registry = load_registry(
            settings.models, threads, limits, settings.required_models, watcher, recorder
        )
        logger.info(
            "serving %d of %d versions after %.2f s: %s",
            sum(entry.model is not None for entry in registry.index()),
            len(registry.index()),
            time.perf_counter() - started,
            "ready" if registry.ready else "not ready",
        )
        on_loaded()
        first = workers.number == 0  # it looks at the traffic of all
        alarms = _alarms(settings) if first else None
        control = Control(registry, workers, threads, recorder, log, alarms)
        with (
            closing(watcher),
            closing(recorder),
            closing(registry),
            closing(control),
            ThreadPoolExecutor(threads, "work") as executor,
        ):
            context = Context(registry, executor, _limits(settings), control)
            app.state.context = app.state.door.context = context
            async with _grpc(settings, context, guard):
                drift_s = settings.drift_check_s if first and settings.drift_sample else 0
                with _at_work(control, settings.watch_s, drift_s):
                    yield

    table = [entry for router in ROUTERS for entry in router.entries]
    app = FastAPI(
        routes=[entry.route() for entry in table],
        lifespan=lifespan,
        openapi_url=None,  # and no pages: `documentation` has them, without another host
        redirect_slashes=False,  # there is one path to each
        telemetry={"tracing": False, "metrics": False, "logs": False},  # quiet, and quicker
    )
    errors.install(app)
    documentation.install(app, table, guard)
    doorkeeper = Doorkeeper(guard, settings.access_log)
    app.state.door = HotDoor(app, doorkeeper)
    app.add_middleware(Gate, doorkeeper=doorkeeper)
    if settings.origins:  # outside of the gate: browsers ask before they send a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[LENGTH_HEADER, "X-Request-ID", "Retry-After"],
        )
    return app


def stop(app: FastAPI) -> None:
    """The service is not ready from now on; requests are still answered."""
    context: Context | None = getattr(app.state, "context", None)  # none before models are loaded
    if context is not None:
        context.registry.stopping = True


@contextmanager
def _at_work(control: Control, watch_s: float, drift_s: float) -> Iterator[None]:
    """The operator is listened to: other workers, SIGHUP, the folder where it is watched. Drift is
    looked at every `drift_s` seconds where that is not 0."""
    loop = asyncio.get_running_loop()
    control.start()
    tasks = {loop.create_task(control.join())}
    if watch_s:
        tasks.add(loop.create_task(control.watch(watch_s)))
    if drift_s:
        tasks.add(loop.create_task(control.traffic.look(drift_s)))
    main = threading.current_thread() is threading.main_thread()
    if main:
        loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(loop.create_task(control.scan())))
        tasks.add(loop.create_task(control.scan()))  # a signal during the start was not heard
    try:
        yield
    finally:
        if main:
            loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _grpc(settings: Settings, context: Context, guard: Guard) -> AsyncIterator[None]:
    """gRPC on its own port, where the settings ask for it."""
    if settings.grpc_port == 0:
        yield
        return
    from service.api.grpc_server import GrpcSettings, start_grpc  # what it needs is an extra

    server, _ = await start_grpc(
        GrpcSettings(
            settings.host,
            settings.grpc_port,
            settings.max_connections,
            settings.tls_certfile,
            settings.tls_keyfile,
        ),
        context,
        guard,
    )
    try:
        yield
    finally:
        await server.stop(settings.shutdown_timeout_s)


def _limits(settings: Settings) -> Limits:
    return Limits(
        body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        image_pixels=settings.max_image_pixels,
        json=JsonLimits(settings.max_json_depth, settings.max_json_values),
    )


def _watch_limits(settings: Settings) -> WatchLimits:
    return WatchLimits(
        sample=settings.drift_sample,
        budget=settings.drift_budget,
        step_s=settings.drift_step_s,
        steps=settings.drift_windows,
        level=settings.drift_alpha,
    )


def _state(settings: Settings, worker: int) -> StateFolder | None:
    if settings.drift_state is None:
        return None
    return StateFolder(settings.drift_state, worker, settings.workers)


def _alarms(settings: Settings) -> Alarms:
    address = settings.drift_webhook.get_secret_value()
    return Alarms(Webhook(address) if address else None)


def _record_limits(settings: Settings) -> RecordLimits:
    return RecordLimits(settings.record, settings.record_rows, settings.record_mb * MEBIBYTE)


def _queue_limits(settings: Settings) -> QueueLimits:
    return QueueLimits(
        max_batch_rows=settings.max_batch_rows,
        batch_delay_s=settings.batch_delay_ms / 1000,
        max_queue_rows=settings.max_queue_rows,
        queue_timeout_s=settings.queue_timeout_s,
    )


def _listed(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.model_dump().items())
