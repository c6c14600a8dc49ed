"""A served model: a bundle with its network loaded, verified on this machine, and run.

Trusts its inputs: they are validated at the door. Every run of a model passes through its one
thread, so that runs never compete for the processors.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from service.bundle import Bundle
from service.errors import BadBundle, DeadlinePassed, InferenceFailed
from service.manifest import MODEL, Check, Manifest
from service.runtime import OnnxRuntime, Runtime
from service.statistics import Execution, Failure, ModelStatistics, Release
from service.tensors import Array, TensorSpec
from service.verification import check_batch_invariance, check_frozen, fixed_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChecksHere:
    """The promises that depend on the kernels of the machine, checked on this one."""

    frozen: Check
    batch_invariant: Check


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model, ready to answer."""

    bundle: Bundle
    runtime: Runtime
    checks_here: ChecksHere
    executor: ThreadPoolExecutor
    statistics: ModelStatistics = field(default_factory=ModelStatistics)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """The version that this is."""
        return self.manifest.version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives."""
        return self.manifest.outputs

    @property
    def row_by_row(self) -> bool:
        """Whether each row is run alone, because this machine's kernels see the batch size."""
        return not self.checks_here.batch_invariant.passed

    async def predict(
        self,
        inputs: Mapping[str, Array],
        *,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Every output by name for validated inputs.

        `priority` is that of the protocol's schedule policy: 1 is the highest, and 0 stands for
        the model's default. The run must begin within `timeout_s`. Raises InferenceFailed,
        QueueFull, DeadlinePassed and Stopping.
        """
        loop, asked = asyncio.get_running_loop(), time.perf_counter_ns()
        try:
            began, outputs = await loop.run_in_executor(
                self.executor, self._run, inputs, asked, timeout_s
            )
        except DeadlinePassed:
            self.statistics.failed(time.perf_counter_ns() - asked, Failure.DEADLINE)
            raise
        except InferenceFailed:
            self.statistics.failed(time.perf_counter_ns() - asked, Failure.FAILED)
            raise
        ended = time.perf_counter_ns()
        rows = len(next(iter(inputs.values())))
        execution = Execution(rows, Release.IDLE, 0, ended - began, 0)
        self.statistics.executed(execution, time.time_ns() // 1_000_000)
        self.statistics.answered(ended - asked, began - asked, execution)
        return outputs

    def close(self) -> None:
        """Waits for the run in progress, and ends the model's thread."""
        self.executor.shutdown(wait=True)

    def _run(
        self, inputs: Mapping[str, Array], asked: int, timeout_s: float | None
    ) -> tuple[int, dict[str, Array]]:
        began = time.perf_counter_ns()
        if timeout_s is not None and began - asked > timeout_s * 1e9:
            raise DeadlinePassed(f"request: expected to run within {timeout_s:g} s of its arrival")
        rows = len(next(iter(inputs.values())))
        if not self.row_by_row or rows == 1:
            return began, self.runtime.run(inputs)
        answers = [
            self.runtime.run({name: array[i : i + 1] for name, array in inputs.items()})
            for i in range(rows)
        ]
        return began, {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def load_model(bundle: Bundle, threads: int) -> Model:
    """Loads and verifies the network of a bundle; BadBundle when it must not be served."""
    manifest, started = bundle.manifest, time.perf_counter()
    runtime = OnnxRuntime(bundle.read(MODEL), threads)
    _check_tensors(manifest, runtime)
    checks = _check_promises(runtime)
    place = f"{manifest.name}/{manifest.version}"
    if not checks.batch_invariant.passed:
        logger.warning("model %s is run row by row: %s", place, checks.batch_invariant.detail)
    elapsed_ms = (time.perf_counter() - started) * 1000
    logger.info("model %s loaded in %.0f ms with %d threads", place, elapsed_ms, threads)
    return Model(bundle, runtime, checks, ThreadPoolExecutor(1, thread_name_prefix=place))


def _check_promises(runtime: Runtime) -> ChecksHere:
    try:
        frozen = check_frozen(runtime.run, runtime.inputs)
        invariant = check_batch_invariance(runtime.run, runtime.inputs)
    except InferenceFailed as error:
        raise BadBundle(f"{MODEL}: on random inputs, {error}") from None
    if not frozen.passed:
        raise BadBundle(f"{MODEL}: expected a frozen network, but {frozen.detail}")
    return ChecksHere(frozen, invariant)


def _check_tensors(manifest: Manifest, runtime: Runtime) -> None:
    """The network is what the manifest says; each row of each output belongs to a row sent."""
    for kind, said, found in (
        ("inputs", manifest.inputs, runtime.inputs),
        ("outputs", manifest.outputs, runtime.outputs),
    ):
        if said != found:
            raise BadBundle(f"{MODEL}: expected {kind} {_listed(said)}, got {_listed(found)}")
    batches = {spec.shape[:1] for spec in runtime.inputs}
    if len(batches) > 1 or () in batches:
        raise BadBundle(
            f"{MODEL}: expected the batch as first dimension of every input, "
            f"got {_listed(runtime.inputs)}"
        )
    loose = [spec for spec in runtime.outputs if spec.shape[:1] != (-1,)]
    if loose and fixed_batch(runtime.inputs) is None:
        raise BadBundle(
            f"{MODEL}: expected the free batch as first dimension of every output, "
            f"got {_listed(loose)}"
        )


def _listed(specs: tuple[TensorSpec, ...] | list[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
