"""Writing bundles: what the service reads back, and what is refused with nothing written."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.bundle import open_bundle
from service.drift.reading import read_baseline
from service.manifest import MODEL, PROBE, Preprocessing
from training.bundle import Description, write_bundle
from training.cli.rows import read_reference
from training.errors import AnswerIsNo, UnusableInput

CHANNELS = 3
RNG = np.random.default_rng(0)
PARAMETERS = {
    "scale": RNG.uniform(0.5, 2, CHANNELS).astype(np.float32),
    "bias": RNG.standard_normal(CHANNELS).astype(np.float32),
    "mean": RNG.standard_normal(CHANNELS).astype(np.float32),
    "var": RNG.uniform(0.5, 2, CHANNELS).astype(np.float32),
}


def _model(training_mode: int = 0) -> onnx.ModelProto:
    """Conv → BatchNormalization → Relu on [N, 2, 6, 6], with a name for the layer."""
    weights = {"weight": RNG.standard_normal((CHANNELS, 2, 3, 3)).astype(np.float32), **PARAMETERS}
    outputs = ["normalized", "m", "v"] if training_mode else ["normalized"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["convolved"], name="conv"),
            helper.make_node(
                "BatchNormalization",
                ["convolved", *PARAMETERS],
                outputs,
                name="bn",
                training_mode=training_mode,
            ),
            helper.make_node("Relu", ["normalized"], ["y"], name="relu"),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CHANNELS, 4, 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_service_reads_what_was_written(tmp_path: Path) -> None:
    source = _model()
    written = write_bundle(source, Description("net"), tmp_path)
    assert written.folder == tmp_path / "net" / "1"
    bundle = open_bundle(written.folder)
    assert bundle.manifest == written.manifest
    (layer,) = bundle.layers
    assert (layer.name, layer.folded_into, layer.rule, layer.refusal) == (
        "bn",
        "conv",
        "conv",
        None,
    )
    assert layer.statistics == "model"

    statistics = bundle.statistics["bn"]
    for field, array in PARAMETERS.items():
        assert np.array_equal(statistics[field], array)
    exact = {name: array.astype(np.float64) for name, array in PARAMETERS.items()}
    multiplier = exact["scale"] / np.sqrt(exact["var"] + float(np.float32(1e-5)))
    np.testing.assert_allclose(statistics["multiplier"], multiplier, rtol=1e-15)
    shift = exact["bias"] - exact["mean"] * multiplier
    np.testing.assert_allclose(statistics["shift"], shift, rtol=1e-14)


def test_the_served_network_answers_as_the_source_and_the_probe_as_the_served(
    tmp_path: Path,
) -> None:
    source = _model()
    bundle = open_bundle(write_bundle(source, Description("net"), tmp_path).folder)
    rows = {"x": RNG.standard_normal((5, 2, 6, 6)).astype(np.float32)}
    off = onnxruntime.SessionOptions()
    off.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    original = onnxruntime.InferenceSession(source.SerializeToString(), off).run(None, rows)[0]
    served = onnxruntime.InferenceSession(bundle.read(MODEL)).run(None, rows)[0]
    np.testing.assert_allclose(served, original, rtol=0, atol=1e-5 * np.abs(original).max())

    probe = onnxruntime.InferenceSession(bundle.read(PROBE))
    (layer,) = bundle.layers
    assert layer.probe is not None
    answer, mean, square = probe.run(["y", layer.probe.mean, layer.probe.mean_square], rows)
    assert answer.tobytes() == served.tobytes()
    assert mean.shape == square.shape == (5, CHANNELS)


def test_checks_are_recorded_with_their_figures(tmp_path: Path) -> None:
    checks = write_bundle(_model(), Description("net"), tmp_path).manifest.checks
    assert checks.frozen.passed
    assert checks.frozen.figure == checks.batch_invariant.figure == 0.0
    assert 0 < checks.parity.figure <= checks.parity.limit == 1e-5
    assert "2, 3, 8, 17, 32" in checks.batch_invariant.detail


def test_versions_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    source = _model()
    for version in (1, 2):
        assert write_bundle(source, Description("net"), tmp_path).manifest.version == version
    write_bundle(source, Description("net", version=7), tmp_path)
    before = (tmp_path / "net" / "7" / "manifest.json").read_bytes()
    with pytest.raises(UnusableInput, match="versions are immutable, the next free one is 8"):
        write_bundle(source, Description("net", version=7), tmp_path)
    assert (tmp_path / "net" / "7" / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path / "net")) == ["1", "2", "7"]


def test_a_network_that_takes_statistics_from_the_batch_is_not_bundled(tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo, match="layer 'bn' cannot be frozen: training_mode=1"):
        write_bundle(_model(training_mode=1), Description("net"), tmp_path)
    assert not (tmp_path / "net").exists()


def test_hidden_batch_statistics_are_found_by_running(tmp_path: Path) -> None:
    """A mean over the batch written out in plain operators has no attribute to tell it by."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.array([0], np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(AnswerIsNo, match="check 'frozen' failed"):
        write_bundle(model, Description("net"), tmp_path)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("name", ["stats", "../net", "a/b", "", ".hidden", "x" * 65])
def test_names_that_cannot_be_served_are_refused(name: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with pytest.raises(UnusableInput, match="expected 1 to 64 letters"):
        write_bundle(_model(), Description(name), models)
    assert not list(tmp_path.rglob("manifest.json"))


def test_labels_and_preprocessing_must_fit_the_network(tmp_path: Path) -> None:
    pictures = Preprocessing(width=28, height=28, colour="L", mean=(0.5,), std=(0.5,))
    with pytest.raises(UnusableInput, match=r"preprocessing gives FP32 \[1, 1, 28, 28\]"):
        write_bundle(_model(), Description("net", preprocessing=pictures), tmp_path)
    with pytest.raises(UnusableInput, match=r"2 labels need an output of shape \[-1, 2\]"):
        write_bundle(_model(), Description("net", labels=("a", "b")), tmp_path)
    assert not (tmp_path / "net").exists()


def test_a_baseline_counts_the_groups_that_its_file_names(tmp_path: Path) -> None:
    images = RNG.standard_normal((64, 2, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "seen.npz", images=images, groups=np.arange(64) // 2)
    reference = read_reference(_model(), tmp_path / "seen.npz", None)
    assert reference.source == "seen.npz, 64 images in 32 groups"
    written = write_bundle(_model(), Description("net"), tmp_path, reference=reference)
    assert written.manifest.baseline is not None
    assert written.manifest.baseline.images == 32
    baseline = read_baseline(open_bundle(written.folder))
    assert baseline is not None
    assert [size for size, _, _ in baseline.layers[0].calibration] == [5, 10]
    np.savez(tmp_path / "short.npz", images=images, groups=np.arange(63))
    with pytest.raises(UnusableInput, match=r"expected as many rows as groups .* got 64 and 63"):
        read_reference(_model(), tmp_path / "short.npz", None)
