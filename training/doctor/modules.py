"""The doctor's view of a PyTorch module, hand-written normalization layers included.

    patient = from_module(network, example)

PyTorch's own layers are read; what is hand-written is found by running the module once in training
mode on `example` and looking which plain tensor attributes follow the batch. From the step that
they make, the weight kept on the old value is measured: a hand-written layer may mean anything by
`momentum`. Modes, buffers and attributes are put back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from training.doctor.finding import NotChecked
from training.doctor.layer import Layer
from training.doctor.momentum import Momentum
from training.doctor.patient import Patient, as_float
from training.doctor.runner import Input
from training.fold.affine import Float64
from training.graph import Array
from training.normalization.layer import AtInference
from training.population import BatchNorm

ROWS = 32
INPUT = "input"


def from_module(network: nn.Module, example: Tensor, name: str = "module") -> Patient:
    """A patient that is a module; `example` is one input [1, …], of which only the shape and the
    type count."""
    state = dict(network.state_dict())
    layers = [_own(path, layer) for path, layer in _batch_norms(network)]
    hidden = _hidden(network, _rows(example), state)
    return Patient(
        name,
        (*layers, *hidden),
        executable=ModuleRunner(network, example),
        has_modules=True,
    )


class ModuleRunner:
    """The module in eval mode, on arrays."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self._network = network
        dtype = np.dtype(str(example.dtype).removeprefix("torch."))
        self.inputs = (Input(INPUT, dtype, (None, *example.shape[1:])),)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The module's output, or outputs, by position."""
        try:
            with _put_back(self._network), torch.no_grad():
                self._network.eval()
                answer = self._network(torch.from_numpy(np.ascontiguousarray(feeds[INPUT])))
        except (RuntimeError, ValueError, IndexError) as error:
            raise NotChecked(f"a module that runs on {len(feeds[INPUT])} rows: {error}") from None
        outputs = answer if isinstance(answer, tuple | list) else [answer]
        tensors = [output for output in outputs if isinstance(output, Tensor)]
        return {f"output {i}": t.detach().cpu().numpy() for i, t in enumerate(tensors)}


def _batch_norms(network: nn.Module) -> Iterator[tuple[str, BatchNorm]]:
    """PyTorch's layers, and those of ours that are one at inference, as frozen ones are."""
    for path, module in network.named_modules():
        if isinstance(module, AtInference) and not isinstance(module, BatchNorm):
            module = module.at_inference()
        if isinstance(module, BatchNorm):
            yield path, module


def _own(path: str, layer: BatchNorm) -> Layer:
    """PyTorch's BatchNorm1d, 2d, 3d and SyncBatchNorm."""
    count = layer.num_batches_tracked
    held = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    scale, bias, mean, var = (None if t is None else as_float(t.detach().cpu()) for t in held)
    untracked = "track_running_stats=False" if mean is None or var is None else None
    return Layer(
        path,
        scale,
        bias,
        mean,
        var,
        epsilon=float(layer.eps),
        momentum=Momentum(layer.momentum, "PyTorch"),
        count=None if count is None else int(count),
        estimator="moving average",
        untracked=untracked,
    )


def _rows(example: Tensor) -> Tensor:
    """A mini-batch whose mean is not 0, so that a step of an average can be told from none."""
    shape = (ROWS, *example.shape[1:])
    if not example.is_floating_point():
        return torch.zeros(shape, dtype=example.dtype)
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(shape, generator=generator) + 0.5).to(example.dtype)


def _hidden(network: nn.Module, rows: Tensor, state: Mapping[str, Tensor]) -> list[Layer]:
    """Layers with plain tensor attributes that change when the module trains, after two steps:
    the first may only create them."""
    with _put_back(network), torch.no_grad():
        network.train()
        try:
            network(rows)
            before, seen = _plain_tensors(network), dict[str, Float64]()
            with _watching(network, seen):
                network(rows)
        except (RuntimeError, ValueError, IndexError, AttributeError) as error:
            raise NotChecked(f"a module that runs in training mode: {error}") from None
        after = _plain_tensors(network)
    moved = {
        path: [n for n, value in held.items() if not _same(before.get(path, {}).get(n), value)]
        for path, held in after.items()
    }
    return [
        _hand_written(path, tuple(names), (before[path], after[path]), seen.get(path), state)
        for path, names in moved.items()
        if names
    ]


def _hand_written(
    path: str,
    names: tuple[str, ...],
    steps: tuple[Mapping[str, Float64], Mapping[str, Float64]],
    batch_mean: Float64 | None,
    state: Mapping[str, Tensor],
) -> Layer:
    before, after = steps
    layer = Layer(path, hidden=names)
    kept = [_kept(before.get(name), after[name], batch_mean) for name in names]
    known = [value for value in kept if value is not None]
    own = {k.rpartition(".")[2]: t for k, t in state.items() if k.rpartition(".")[0] == path}
    vectors = {k: as_float(t.detach().cpu()) for k, t in own.items()}
    scale, bias = (
        next((vectors[n] for n in choice if n in vectors), None)
        for choice in (("gamma", "weight", "scale"), ("beta", "bias", "shift"))
    )
    momentum = Momentum(known[0], "hand-written") if known else None
    return replace(layer, scale=scale, bias=bias, momentum=momentum)


def _kept(before: Float64 | None, after: Float64, batch: Float64 | None) -> float | None:
    """k of after = k·before + (1 - k)·batch by least squares; None where that is no such step."""
    if before is None or batch is None or not before.shape == after.shape == batch.shape:
        return None
    span, step = batch - before, after - before
    if not float(span @ span) > 0:
        return None
    share = float(span @ step) / float(span @ span)
    rest = float(np.linalg.norm(step - share * span))
    return 1 - share if rest <= 1e-3 * float(np.linalg.norm(span)) else None


def _plain_tensors(network: nn.Module) -> dict[str, dict[str, Float64]]:
    """By module path, the tensors that are neither parameters nor buffers."""
    return {
        path: {
            name: as_float(value.detach().cpu())
            for name, value in vars(module).items()
            if isinstance(value, Tensor)
        }
        for path, module in network.named_modules()
    }


def _same(before: Float64 | None, after: Float64) -> bool:
    return before is not None and np.array_equal(before, after, equal_nan=True)


@contextmanager
def _watching(network: nn.Module, seen: dict[str, Float64]) -> Iterator[None]:
    """Each module's input mean per channel (axis 1)."""

    def watch(path: str, inputs: tuple[object, ...]) -> None:
        data = inputs[0] if inputs else None
        if isinstance(data, Tensor) and data.ndim > 1 and data.is_floating_point():
            axes = [axis for axis in range(data.ndim) if axis != 1]
            seen[path] = as_float(data.double().mean(dim=axes))

    handles = [
        module.register_forward_pre_hook(lambda _, inputs, path=path: watch(path, inputs))
        for path, module in network.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _public(module: nn.Module) -> list[tuple[str, object]]:
    return [(name, value) for name, value in vars(module).items() if not name.startswith("_")]


@contextmanager
def _put_back(network: nn.Module) -> Iterator[None]:
    """Modes, buffers and plain attributes are what they were, and so is the random state."""
    modules = list(network.modules())
    modes = [module.training for module in modules]
    plain = [
        {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in items}
        for items in (_public(module) for module in modules)
    ]
    buffers = [{k: b.clone() for k, b in m._buffers.items() if b is not None} for m in modules]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, mode, own, held in zip(modules, modes, plain, buffers, strict=True):
                for created in dict(_public(module)).keys() - own.keys():
                    delattr(module, created)
                vars(module).update(own)
                module.training = mode
                for key, value in held.items():
                    module.get_buffer(key).copy_(value)
