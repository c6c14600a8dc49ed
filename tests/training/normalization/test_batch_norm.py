"""The written-out batch normalization against PyTorch's, in values, gradients and statistics."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

from training.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, detached_batch_norm
from training.normalization import batch_function as functions
from training.normalization.batch_function import BatchNormFunction

# float64: the rounding of some hundred additions in another order.
TOLERANCE = 1e-12

SHAPES: dict[str, tuple[type[nn.Module], type[nn.Module], tuple[int, ...]]] = {
    "fully connected": (BatchNorm1d, nn.BatchNorm1d, (7, 3)),
    "1-d": (BatchNorm1d, nn.BatchNorm1d, (4, 3, 5)),
    "2-d": (BatchNorm2d, nn.BatchNorm2d, (4, 3, 5, 2)),
    "3-d": (BatchNorm3d, nn.BatchNorm3d, (3, 2, 2, 3, 4)),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"affine": False},
    {"momentum": None},
    {"momentum": 0.3, "eps": 1e-3},
    {"track_running_stats": False},
]


def _batches(shape: tuple[int, ...], steps: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        3 * torch.randn(shape, generator=generator, dtype=torch.float64) + step
        for step in range(steps)
    ]


def _assert_close(ours: Tensor | None, theirs: Tensor | None) -> None:
    if ours is None or theirs is None:
        assert ours is theirs
        return
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("piece", [functions.PIECE, 16])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", SHAPES)
def test_a_training_run_is_pytorchs(
    kind: str, options: dict[str, Any], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "PIECE", piece)  # 16: every batch is made in several pieces
    own_type, torch_type, shape = SHAPES[kind]
    own, theirs = (t(shape[1], dtype=torch.float64, **options) for t in (own_type, torch_type))
    optimizers = [
        torch.optim.SGD([*layer.parameters()], lr=0.1)
        for layer in (own, theirs)
        if [*layer.parameters()]
    ]
    for batch in _batches(shape):
        inputs = [batch.clone().requires_grad_() for _ in range(2)]
        outputs = [layer(x) for layer, x in zip((own, theirs), inputs, strict=True)]
        _assert_close(outputs[0], outputs[1])
        for y in outputs:
            (y.sin() * batch).mean().backward()
        _assert_close(inputs[0].grad, inputs[1].grad)
        for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
            _assert_close(mine.grad, other.grad)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        state = own.state_dict()
        assert state.keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            _assert_close(state[name].double(), value.double())
    held_out = _batches(shape)[0] + 1
    _assert_close(own.eval()(held_out), theirs.eval()(held_out))


@pytest.mark.parametrize("kind", SHAPES)
def test_either_loads_the_others_state(kind: str) -> None:
    own_type, torch_type, shape = SHAPES[kind]
    own, theirs = (t(shape[1], dtype=torch.float64) for t in (own_type, torch_type))
    x = _batches(shape)[0]
    for source, target in ((own, theirs), (theirs, own)):
        source.train()(x)
        target.load_state_dict(source.state_dict())
        _assert_close(source.eval()(x), target.eval()(x))


def _inputs(shape: tuple[int, ...] = (5, 3, 2)) -> tuple[Tensor, Tensor, Tensor]:
    x = _batches(shape)[0]
    weight = torch.tensor([0.5, -2.0, 1.5], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    return x.requires_grad_(), weight, bias


def _own(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y: Tensor = BatchNormFunction.apply(x, weight, bias, 1e-5)[0]  # type: ignore[no-untyped-call]
    return y


def test_gradcheck_and_gradgradcheck_pass() -> None:
    assert gradcheck(_own, _inputs())
    assert gradgradcheck(_own, _inputs())
    x = _inputs()[0]
    assert gradcheck(lambda x: _own(x, None, None), [x])
    assert gradgradcheck(lambda x: _own(x, None, None), [x])


def test_with_detached_statistics_gradcheck_fails() -> None:
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(detached_batch_norm, _inputs())


def test_the_gradient_that_can_be_differentiated_is_the_same() -> None:
    x, weight, bias = _inputs()
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    fast = torch.autograd.grad(_own(x, weight, bias), (x, weight, bias), grad)
    slow = torch.autograd.grad(_own(x, weight, bias), (x, weight, bias), grad, create_graph=True)
    for first, second in zip(fast, slow, strict=True):
        _assert_close(first, second)


def test_against_the_formulas_in_numpy() -> None:
    x, weight, bias = _inputs()
    values = x.detach().numpy().transpose(1, 0, 2).reshape(3, -1)
    mean, var = values.mean(1), values.var(1)
    y = (values - mean[:, None]) / np.sqrt(var + 1e-5)[:, None]
    np.testing.assert_allclose(y.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose((y**2).mean(1), var / (var + 1e-5), rtol=TOLERANCE)
    y = y * weight.detach().numpy()[:, None] + bias.detach().numpy()[:, None]
    own = _own(x, weight, bias).detach().numpy().transpose(1, 0, 2).reshape(3, -1)
    np.testing.assert_allclose(own, y, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameters", ["float32", "narrow"])
def test_narrow_types_are_computed_in_float32(dtype: torch.dtype, parameters: str) -> None:
    """Against PyTorch's layer in float64 on the same numbers: rounded once, at the end."""
    own, theirs = BatchNorm2d(3), nn.BatchNorm2d(3).double()
    if parameters == "narrow":
        own = own.to(dtype)
    batch, mixed = (_batches((40, 3, 5, 5))[0] + 4).to(dtype), _batches((40, 3, 5, 5))[1].to(dtype)
    results = []
    for layer, kind in ((own, dtype), (theirs, torch.float64)):
        x = batch.to(kind).detach().clone().requires_grad_()
        y = layer(x)
        y.backward(mixed.to(kind))
        assert y.dtype == kind
        results.append((y, x.grad, layer.running_mean, layer.running_var, layer.weight.grad))
    rounding = torch.finfo(dtype).eps
    for mine, exact in zip(*results, strict=True):
        assert mine is not None
        assert exact is not None
        scale = float(exact.detach().abs().max())
        torch.testing.assert_close(
            mine.double(), exact, rtol=rounding, atol=rounding * scale, check_dtype=False
        )
    assert own.running_var is not None
    assert own.running_var.dtype == own.weight.dtype


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_the_input_is_kept(layout: torch.memory_format) -> None:
    x = torch.randn(4, 3, 5, 6).contiguous(memory_format=layout).requires_grad_()
    y = BatchNorm2d(3)(x)
    y.sum().backward()
    assert x.grad is not None
    assert y.stride() == x.grad.stride() == x.stride()


def test_a_gradient_of_another_layout_is_taken_as_it_is_meant() -> None:
    x = torch.randn(4, 3, 5, 6, dtype=torch.float64)
    grad = torch.randn(4, 3, 6, 5, dtype=torch.float64).transpose(2, 3)
    grads = []
    for layer in (BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()):
        inputs = x.clone().requires_grad_()
        layer(inputs).backward(grad)
        grads.append(inputs.grad)
    _assert_close(grads[0], grads[1])


def test_statistics_far_from_zero_keep_their_digits() -> None:
    """In float32, mean 1000 and σ 1: E[x²] - E[x]² would lose 14 % of the variance."""
    x = 1000 + torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    mean, var = functions.batch_statistics(x)
    torch.testing.assert_close(
        var, x.double().var((0, 2, 3), correction=0).float(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(mean, x.double().mean((0, 2, 3)).float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("layer", "shape"), [(BatchNorm1d, (1, 3)), (BatchNorm2d, (1, 3, 1, 1))])
def test_one_value_per_channel_is_refused_with_what_to_do(
    layer: type[nn.Module], shape: tuple[int, ...]
) -> None:
    made = layer(3)
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(ValueError, match=r"at least two values per channel.*larger batches"):
        made(torch.ones(shape))
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in before.items())
    assert made.eval()(torch.ones(shape)).shape == shape


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (BatchNorm1d, (2, 3, 4, 5), r"\[N, C\] or \[N, C, L\]"),
        (BatchNorm2d, (2, 3, 4), r"\[N, C, H, W\]"),
        (BatchNorm3d, (2, 3), r"\[N, C, D, H, W\]"),
        (BatchNorm2d, (2, 4, 5, 5), "expected 3 channels, got 4"),
    ],
)
def test_other_shapes_are_refused(
    layer: type[nn.Module], shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        layer(3)(torch.zeros(shape))


def test_weights_times_a_give_the_same_output_and_a_gradient_by_a() -> None:
    """BN((aW)u) = BN(Wu) and its gradient in aW is 1/a that in W (section 3.3), as ε goes to 0."""
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    w = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    answers, a = list[tuple[Tensor, Tensor]](), 10.0
    for weight in (w.clone(), a * w):
        weight.requires_grad_()
        y = BatchNormFunction.apply(u @ weight, None, None, 1e-14)[0]  # type: ignore[no-untyped-call]
        (y.sin() * u[:, :3]).sum().backward()
        assert weight.grad is not None
        answers.append((y.detach(), weight.grad))
    torch.testing.assert_close(answers[0][0], answers[1][0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(answers[0][1], a * answers[1][1], rtol=1e-10, atol=1e-10)


def test_gamma_and_beta_can_undo_the_normalization() -> None:
    x = _batches((9, 3))[0]
    layer = BatchNorm1d(3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_((x.var(0, correction=0) + layer.eps).sqrt())
        layer.bias.copy_(x.mean(0))
    _assert_close(layer(x), x)


def test_a_bias_before_it_has_no_gradient() -> None:
    x, bias = _batches((9, 3))[0], torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (BatchNorm1d(3, dtype=torch.float64)(x + bias).sin() * x).sum().backward()
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, torch.zeros_like(bias), rtol=0, atol=1e-12)
