"""Re-estimation against PyTorch, layer by layer, and against the network's own statistics.

The oracle is PyTorch in float64: it passes all images through at once, with one layer after another
in training mode and a cumulative average (momentum None), and all layers before it in eval mode.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from tests.graphs import Array, Builder
from training.errors import UnusableInput
from training.fold.float64 import evaluate
from training.recalibrate.estimate import Estimate, Run, estimate
from training.recalibrate.moments import Moments

IMAGES = 75  # three chunks, the last one not full
LIMIT = 1e-12  # relative to the largest; float64 has 53 bits


class Residual(nn.Module):
    """Two branches that meet, a depthwise convolution, a layer on vectors, and one that is last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.main = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.side = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.join = nn.BatchNorm2d(8)
        self.features = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.join(self.main(x) + self.side(x)).relu()
        return self.head(self.features(x.mean((2, 3))))


def network(seed: int = 0) -> nn.Module:
    """Seeded weights, and statistics that are not those of any input, in float64."""
    torch.manual_seed(seed)
    made = Residual().double().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = float(np.float32(1e-5))  # as ONNX's attribute is
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made


def images(count: int = IMAGES) -> Array:
    """Images of another domain: shifted, scaled, and unlike one another."""
    random = np.random.default_rng(7)
    noise = random.normal(0, 1, (count, 3, 6, 5)) * random.uniform(0.5, 3, (count, 1, 1, 1))
    return np.asarray(noise + 2.0)


def as_onnx(made: nn.Module, dtype: str = "float64") -> onnx.ModelProto:
    """The same network as ONNX, written by hand: exporters have no double for every operator."""
    build = Builder()
    state = {name: tensor.numpy().astype(dtype) for name, tensor in made.state_dict().items()}

    def layer(name: str, data: str) -> str:
        fields = zip(
            ("scale", "bias", "mean", "var"),
            ("weight", "bias", "running_mean", "running_var"),
            strict=True,
        )
        return build.normalize(data, name, {k: state[f"{name}.{v}"] for k, v in fields})

    def conv(name: str, data: str, **attributes: object) -> str:
        keys = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in state]
        inputs = [data, *(build.constant(key, state[key]) for key in keys)]
        return build.op("Conv", inputs, f"{name}.out", **attributes)

    x = layer("stem.1", conv("stem.0", "image", pads=[1] * 4))
    x = build.op("Relu", [x], "stem.relu")
    main = build.op(
        "Relu", [layer("main.1", conv("main.0", x, pads=[1] * 4, group=8))], "main.relu"
    )
    side = layer("side.1", conv("side.0", x))
    x = build.op("Relu", [layer("join", build.op("Add", [main, side], "sum"))], "join.relu")
    x = build.op("ReduceMean", [x], "pooled", axes=[2, 3], keepdims=0)
    weights = [build.constant(f"head.{part}", state[f"head.{part}"]) for part in ("weight", "bias")]
    build.op("Gemm", [layer("features", x), *weights], "logits", transB=1)
    kind = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
    return build.model({"image": ["n", 3, 6, 5]}, ["logits"], dtype=kind)


def in_float64(model: onnx.ModelProto) -> Run:
    """A segment by ONNX's reference evaluator."""
    return lambda feeds: evaluate(model, {v.name: feeds[v.name] for v in model.graph.input})


def pytorchs(made: nn.Module, rows: Array) -> dict[str, tuple[Array, Array]]:
    """What PyTorch tracks, each layer on its own pass, those before it corrected already."""
    found = {}
    for name in ("stem.1", "main.1", "side.1", "join", "features"):
        module = made.get_submodule(name)
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        module.reset_running_stats()
        module.train()
        module.momentum = None
        with torch.no_grad():
            made(torch.from_numpy(rows))
        module.eval()
        assert module.running_mean is not None
        assert module.running_var is not None
        found[name] = module.running_mean.numpy(), module.running_var.numpy()
    return found


def statistics(model: onnx.ModelProto) -> dict[str, tuple[Array, Array]]:
    """Mean and variance of every layer, as a runtime reads them."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.output[0]: (held[node.input[3]], held[node.input[4]])
        for node in model.graph.node
        if node.op_type == "BatchNormalization"
    }


def worst(
    got: Mapping[str, tuple[Array, Array]], expected: Mapping[str, tuple[Array, Array]]
) -> float:
    """The largest difference over layers, of mean and variance, relative to the largest entry."""
    assert list(got) == list(expected)
    return max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for name in expected
        for a, b in zip(got[name], expected[name], strict=True)
    )


def answer(model: onnx.ModelProto, rows: Array) -> Array:
    return evaluate(model, {"image": rows})["logits"]


def test_without_a_prior_it_is_pytorchs_layer_by_layer() -> None:
    made, rows = network(), images()
    found = estimate(as_onnx(made), {"image": rows}, prior=0, open_network=in_float64)
    assert worst(statistics(found.model), pytorchs(made, rows)) <= LIMIT
    with torch.no_grad():
        expected = made(torch.from_numpy(rows)).numpy()
    assert np.abs(answer(found.model, rows) - expected).max() <= 1e-11 * np.abs(expected).max()
    assert (found.images, found.weight) == (IMAGES, 1.0)
    assert found.changes[0].values == IMAGES * 30
    assert found.changes[-1].values == IMAGES


def test_the_prior_weighs_as_so_many_images() -> None:
    """One layer deep: behind it, the corrected inputs are other ones."""
    made, rows = network(), images()
    old = statistics(as_onnx(made))["stem.1"]
    found = estimate(as_onnx(made), {"image": rows}, prior=25, open_network=in_float64)
    target = pytorchs(made, rows)["stem.1"]
    for got, source, new in zip(statistics(found.model)["stem.1"], old, target, strict=True):
        np.testing.assert_allclose(got, 0.25 * source + 0.75 * new, rtol=1e-12)
    assert found.weight == 0.75


@pytest.mark.parametrize("cache_bytes", [0, 200_000, 2**30])
def test_it_does_not_matter_from_where_a_pass_goes_on(cache_bytes: int) -> None:
    """Nothing kept, what fits, or everything; 200,000 bytes hold the later stages only."""
    made, rows = network(), images()
    found = estimate(
        as_onnx(made), {"image": rows}, 0, open_network=in_float64, cache_bytes=cache_bytes
    )
    assert worst(statistics(found.model), pytorchs(made, rows)) <= LIMIT


def test_in_onnx_runtime_it_is_the_same_up_to_float32() -> None:
    made, rows = network(), images()
    inputs = {"image": rows.astype(np.float32)}
    found = estimate(as_onnx(made, "float32"), inputs, prior=0)
    assert worst(statistics(found.model), pytorchs(made, rows)) <= 1e-5


def test_the_order_and_the_pieces_of_the_images_do_not_matter() -> None:
    made, rows = network(), images()
    shuffled = np.random.default_rng(1).permutation(rows)
    found = [
        estimate(as_onnx(made), {"image": r}, open_network=in_float64) for r in (rows, shuffled)
    ]
    assert worst(statistics(found[1].model), statistics(found[0].model)) <= LIMIT


def test_with_its_own_statistics_a_network_stays_what_it_is() -> None:
    made, rows = network(), images()
    once = estimate(as_onnx(made), {"image": rows}, prior=0, open_network=in_float64)
    again = estimate(once.model, {"image": rows}, prior=0, open_network=in_float64)
    assert worst(statistics(again.model), statistics(once.model)) <= LIMIT
    assert max(c.mean_shift + c.variance_shift for c in again.changes) <= 1e-11


def test_what_was_recorded_from_the_old_network_is_something_else() -> None:
    """Writing back what the layers saw before any was corrected: the trap that this avoids."""
    made, rows = network(), images()
    values = evaluate(as_onnx(made), {"image": rows})
    found: Estimate = estimate(as_onnx(made), {"image": rows}, prior=0, open_network=in_float64)
    recorded = values["sum"].mean((0, 2, 3))
    assert np.abs(recorded - statistics(found.model)["join"][0]).max() > 0.1


def test_the_moments_lose_no_digits_on_a_large_mean() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, (40, 3, 7))
    moments = Moments()
    for piece in np.split(values, [1, 2, 17]):
        moments.add(piece)
    np.testing.assert_allclose(moments.mean, values.mean((0, 2)), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var((0, 2), ddof=1), rtol=1e-8)


def test_inputs_on_which_a_layer_is_not_finite_are_refused() -> None:
    rows = images()
    rows[3, 0, 0, 0] = np.nan
    with pytest.raises(UnusableInput, match=r"layer 'stem\.1' is not finite on the images given"):
        estimate(as_onnx(network()), {"image": rows}, open_network=in_float64)


def test_a_network_that_normalizes_by_its_batch_is_refused() -> None:
    model = as_onnx(network())
    for node in model.graph.node:
        if node.name == "join":
            node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
    with pytest.raises(UnusableInput, match="layer 'join' cannot be re-calibrated: training_mode"):
        estimate(model, {"image": images()}, open_network=in_float64)


def test_a_network_without_layers_is_refused() -> None:
    build = Builder()
    build.op("Relu", ["x"], "y")
    model = build.model({"x": ["n", 3]}, ["y"])
    with pytest.raises(UnusableInput, match="expected a network with BatchNormalization"):
        estimate(model, {"x": np.ones((64, 3), np.float32)})
