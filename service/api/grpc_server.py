"""The Open Inference Protocol V2 over gRPC, on a port of its own: the same core, the same checks.

Errors have the sentences of HTTP and the status code that is nearest to theirs.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from service import __version__
from service.api.codec import decode
from service.api.dependencies import Context
from service.api.errors import status_of
from service.api.grpc_messages import read_request, write_answer, write_statistics
from service.api.guard import PROBES, Guard
from service.api.nonfinite import find_nonfinite
from service.api.protobuf import open_inference_pb2 as pb
from service.api.routing import EXTENSIONS, PLATFORM
from service.errors import FoldserveError, InvalidRequest, NotFound, NotReady, NotSupported
from service.model import Model

logger = logging.getLogger(__name__)

_SERVICE = "inference.GRPCInferenceService"
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.OUT_OF_RANGE,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

RPC = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """Where and how gRPC is served. `certificate` and `key` are PEM files, or None for plain."""

    host: str
    port: int
    most_calls: int
    certificate: Path | None = None
    key: Path | None = None


async def start_grpc(
    settings: GrpcSettings, context: Context, guard: Guard
) -> tuple[grpc.aio.Server, int]:
    """Starts serving, on the running event loop; returns the server and the port that it has."""
    limit = context.limits.body_bytes
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.most_calls,
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),  # each worker has its own socket
        ],
    )
    services = _Rpcs(context, guard).handlers()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, services),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.port}"
    if settings.certificate is None:
        port = server.add_insecure_port(address)
    else:
        key = settings.key or settings.certificate
        pair = (key.read_bytes(), settings.certificate.read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    await server.start()
    logger.info("gRPC on %s:%d", host, port)
    return server, port


class _Rpcs:
    """The remote procedures, by the names of the protocol."""

    def __init__(self, context: Context, guard: Guard) -> None:
        self._context, self._guard = context, guard

    def handlers(self) -> dict[str, Any]:
        """What gRPC is given: each procedure with its messages and the path of its HTTP twin."""
        table: dict[str, tuple[RPC, str]] = {
            "ServerLive": (self.server_live, PROBES[0]),
            "ServerReady": (self.server_ready, PROBES[1]),
            "ModelReady": (self.model_ready, "/v2/models"),
            "ServerMetadata": (self.server_metadata, "/v2"),
            "ModelMetadata": (self.model_metadata, "/v2/models"),
            "ModelInfer": (self.model_infer, "/v2/models"),
            "ModelStatistics": (self.model_statistics, "/v2/models"),
            "RepositoryIndex": (self.repository_index, "/v2/repository/index"),
            "RepositoryModelLoad": (self.load, "/v2/repository/models/x/load"),
            "RepositoryModelUnload": (self.unload, "/v2/repository/models/x/unload"),
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(procedure, path),
                request_deserializer=getattr(pb, f"{name}Request").FromString,
                response_serializer=getattr(pb, f"{name}Response").SerializeToString,
            )
            for name, (procedure, path) in table.items()
        }

    def _guarded(self, procedure: RPC, path: str) -> RPC:
        async def guarded(request: Any, call: Any) -> Any:
            headers = {
                str(key).encode(): value if isinstance(value, bytes) else str(value).encode()
                for key, value in call.invocation_metadata() or ()
            }
            # Browsers, for whose sake the name of the host is looked at, do not speak gRPC.
            headers[b"host"] = b"localhost"
            try:
                if (refusal := self._guard.refusal("POST", path, headers)) is not None:
                    raise refusal
                return await procedure(request, call)
            except FoldserveError as error:
                sentence = str(error)
                if named := getattr(request, "id", ""):
                    sentence = f"[request id: {named[:128]}] {sentence}"
                code = _CODES.get(status_of(error), grpc.StatusCode.INTERNAL)
                await call.abort(code, sentence)

        return guarded

    def _model(self, name: str, version: str) -> Model:
        return self._context.registry.get(name, version or None)

    async def server_live(self, request: Any, call: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, call: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._context.registry.ready)

    async def model_ready(self, request: pb.ModelReadyRequest, call: Any) -> Any:
        """Whether it can answer; as in Triton, a model that there is not cannot."""
        try:
            self._model(request.name, request.version)
        except (NotFound, NotReady):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def server_metadata(self, request: Any, call: Any) -> pb.ServerMetadataResponse:
        served = ("classification", "model_repository", "schedule_policy", "statistics")
        extensions = [name for name in EXTENSIONS if name in served]
        return pb.ServerMetadataResponse(
            name="foldserve", version=__version__, extensions=extensions
        )

    async def model_metadata(self, request: pb.ModelMetadataRequest, call: Any) -> Any:
        model = self._model(request.name, request.version)
        one = [model.version] if request.version else self._context.registry.versions(model.name)
        answer = pb.ModelMetadataResponse(
            name=model.name, versions=map(str, one), platform=PLATFORM
        )
        for specs, into in ((model.inputs, answer.inputs), (model.outputs, answer.outputs)):
            for spec in specs:
                into.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return answer

    async def model_infer(self, request: pb.ModelInferRequest, call: Any) -> Any:
        model = self._model(request.model_name, request.model_version)
        asked = decode(read_request(request), model.inputs, model.outputs)
        limits = [t for t in (asked.timeout_s, call.time_remaining()) if t is not None]
        outputs = await model.predict(
            asked.inputs, priority=asked.priority, timeout_s=min(limits, default=None)
        )
        wanted = [outputs[output.name] for output in asked.outputs]
        found = await find_nonfinite(self._context, model, asked.inputs, wanted)
        return write_answer(model, asked, outputs, found)

    async def model_statistics(self, request: pb.ModelStatisticsRequest, call: Any) -> Any:
        registry = self._context.registry
        if request.name:
            self._model(request.name, request.version)  # it must be there
        models = [
            entry.model
            for entry in registry.index()
            if entry.model is not None
            and request.name in ("", entry.name)
            and request.version in ("", str(entry.version))
        ]
        entries = await self._context.control.statistics(models)
        return pb.ModelStatisticsResponse(model_stats=map(write_statistics, entries))

    async def repository_index(self, request: pb.RepositoryIndexRequest, call: Any) -> Any:
        _check_repository(request.repository_name)
        answer = pb.RepositoryIndexResponse()
        for entry in self._context.registry.index():
            if entry.model is not None or not request.ready:
                answer.models.add(
                    name=entry.name,
                    version=str(entry.version),
                    state=entry.state,
                    reason=entry.reason,
                )
        return answer

    async def load(self, request: pb.RepositoryModelLoadRequest, call: Any) -> Any:
        _check_repository(request.repository_name)
        if request.parameters:
            raise InvalidRequest(
                "parameters: expected none, because bundles and their configuration come from "
                "the folder of models only"
            )
        await self._context.control.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: pb.RepositoryModelUnloadRequest, call: Any) -> Any:
        _check_repository(request.repository_name)
        await self._context.control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()


def _check_repository(name: str) -> None:
    if name:
        raise NotSupported(f"repository: expected none to be named, got '{name[:100]}'")
