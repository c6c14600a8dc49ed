"""A served model: a bundle with its network loaded, verified on this machine, and run.

Trusts its inputs: they are validated at the door. A version that is replaced needs no draining of
its own: the requests that hold it finish on it, and with the last of them it is gone.
"""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.batch import Run, Tell
from service.batch_sizes import EXPENSIVE_S, BatchSizes, best_time, find_batch_sizes
from service.batching import Batcher, Lanes, QueueLimits
from service.bundle import Bundle
from service.errors import BadBundle, InferenceFailed
from service.manifest import MODEL, Check, Manifest
from service.recording import Recorder, Recording
from service.runtime import OnnxRuntime, Runtime
from service.statistics import ModelStatistics
from service.tensors import Array, TensorSpec
from service.threads import hand_over_seconds
from service.verification import SEED, check_frozen, fixed_batch, random_inputs
from service.watch import Watch, Watcher

logger = logging.getLogger(__name__)

_WIDE_PAYS = 1.1  # a run on all threads must be faster by this, or its memory is not worth it


@dataclass(frozen=True, slots=True)
class ChecksHere:
    """The promises that depend on the kernels of the machine, checked on this one."""

    frozen: Check
    batch_invariant: Check


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Model:
    """One version of a model, ready to answer."""

    bundle: Bundle
    checks_here: ChecksHere
    batch_sizes: BatchSizes
    batcher: Batcher
    statistics: ModelStatistics
    threads: int  # of a run while nothing else runs; of any other, one
    load_seconds: dict[str, float]  # by phase
    watch: Watch | None = None
    recording: Recording | None = None

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
        """Whether each row is run alone."""
        return self.batch_sizes.largest == 1

    async def predict(
        self,
        inputs: Mapping[str, Array],
        *,
        priority: int = 0,
        timeout_s: float | None = None,
        traffic: bool = True,
    ) -> dict[str, Array]:
        """Every output by name for validated inputs.

        `priority` is that of the protocol's schedule policy: 1 is the highest, and 0 stands for
        the default, 2. The run must begin within `timeout_s`. Raises InferenceFailed, QueueFull,
        DeadlinePassed and Stopping. When the caller is cancelled, its rows are not run. What is no
        `traffic` is neither watched for drift nor recorded.
        """
        outputs = await self.batcher.submit(inputs, priority=priority, timeout_s=timeout_s)
        if traffic:
            self.observe(inputs)
        return outputs

    def ask(
        self,
        inputs: Mapping[str, Array],
        tell: Tell,
        *,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Callable[[], None]:
        """The same without a task: `tell` is called once, with the outputs or the reason why there
        are none; not after a call of what is returned, which withdraws the request. Who asks tells
        `observe` what was answered. Raises QueueFull and Stopping."""
        request = self.batcher.ask(inputs, tell, priority=priority, timeout_s=timeout_s)
        return partial(self.batcher.withdraw, request)

    def observe(self, inputs: Mapping[str, Array]) -> None:
        """Inputs that were answered: offered to who watches for drift, and who records."""
        if self.watch is not None:
            self.watch.offer(inputs)
        if self.recording is not None:
            self.recording.offer(inputs)

    def close(self) -> None:
        """Refuses what waits; a run in progress is finished."""
        self.batcher.close()


def load_model(
    bundle: Bundle,
    threads: int,
    limits: QueueLimits | None = None,
    executor: Executor | None = None,
    watcher: Watcher | None = None,
    recorder: Recorder | None = None,
) -> Model:
    """Loads and verifies the network of a bundle; BadBundle when it must not be served.

    Runs that do not happen on the event loop happen in `executor`, at most `threads` at once.
    `watcher` samples what is answered, where there is one, and `recorder` keeps a sample of it.
    """
    limits, executor = limits or QueueLimits(), executor or ThreadPoolExecutor(threads, "run")
    began = time.perf_counter()
    network = bundle.read(MODEL)
    runtime = OnnxRuntime(network, threads=1)
    _check_tensors(bundle.manifest, runtime)
    loaded = time.perf_counter()
    frozen, sizes = _check_promises(runtime, limits.max_batch_rows)
    wide = _load_wide(network, runtime, threads, sizes) if threads > 1 else None
    row = random_inputs(runtime.inputs, sizes.sizes[0], np.random.default_rng(SEED))
    for session in filter(None, (runtime, wide)):
        session.release_memory(row)
    checked = time.perf_counter()
    statistics, lanes = ModelStatistics(), Lanes(executor, threads, hand_over_seconds(executor))
    batcher = Batcher(
        _runner(runtime, wide), sizes, lanes, limits, statistics, time.perf_counter_ns
    )
    phases = {"load": loaded - began, "check": checked - loaded}
    model = Model(
        bundle,
        ChecksHere(frozen, sizes.check),
        sizes,
        batcher,
        statistics,
        threads if wide else 1,
        phases,
        None if watcher is None else watcher.watch(bundle, lambda: batcher.waiting_rows > 0),
        None if recorder is None else recorder.record(bundle.manifest),
    )
    _log(model, phases)
    return model


def _runner(narrow: Runtime, wide: Runtime | None) -> Run:
    def run(inputs: Mapping[str, Array], alone: bool) -> dict[str, Array]:
        return (wide if wide and alone else narrow).run(inputs)

    return run


def _load_wide(
    network: bytes, narrow: Runtime, threads: int, sizes: BatchSizes
) -> OnnxRuntime | None:
    """The network once more on all threads, for when nothing else runs; where that pays.

    It must give the same bits as the run on one thread, which serves under load: there, several
    runs of one thread each answer more than one run of several threads.
    """
    if sizes.seconds[0] < EXPENSIVE_S:
        return None
    wide = OnnxRuntime(network, threads)
    for size in sizes.sizes:
        rows = random_inputs(narrow.inputs, size, np.random.default_rng(SEED + 2))
        one, all_of_them = narrow.run(rows), wide.run(rows)
        if any(one[name].tobytes() != all_of_them[name].tobytes() for name in one):
            return None
    rows = random_inputs(narrow.inputs, sizes.sizes[0], np.random.default_rng(SEED))
    narrow_s, wide_s = zip(
        *((best_time(narrow.run, rows), best_time(wide.run, rows)) for _ in range(3)), strict=True
    )
    return wide if min(wide_s) * _WIDE_PAYS < min(narrow_s) else None


def _log(model: Model, phases: Mapping[str, float]) -> None:
    place = f"{model.name}/{model.version}"
    if not model.batch_sizes.check.passed:
        logger.warning("model %s: %s", place, model.batch_sizes.check.detail)
    logger.info(
        "model %s loaded in %.0f ms, verified in %.0f ms: %d threads, batches of at most %d rows",
        place,
        phases["load"] * 1000,
        phases["check"] * 1000,
        model.threads,
        model.batch_sizes.largest,
    )


def _check_promises(runtime: Runtime, largest: int) -> tuple[Check, BatchSizes]:
    try:
        frozen = check_frozen(runtime.run, runtime.inputs, size=2)
        if not frozen.passed:
            raise BadBundle(f"{MODEL}: expected a frozen network, but {frozen.detail}")
        return frozen, find_batch_sizes(runtime.run, runtime.inputs, largest)
    except InferenceFailed as error:
        raise BadBundle(f"{MODEL}: on random inputs, {error}") from None


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
