"""What a node's metadata says of a layer survives the way through an ONNX file."""

import numpy as np

from training.provenance import Provenance, read_provenance


def test_everything_comes_back() -> None:
    mean = np.array([0.1, -3e-20, 7.0], np.float32)
    told = Provenance("features.1", 0.1, 5616, "population", mean, mean + 1)
    found = read_provenance(told.to_metadata(), "unknown")
    assert (found.layer, found.momentum, found.count) == ("features.1", 0.1, 5616)
    assert found.statistics == "population"
    assert found.moving_mean is not None
    assert found.moving_mean.tobytes() == mean.tobytes()


def test_a_file_from_elsewhere_says_nothing() -> None:
    found = read_provenance({"pkg.torch.onnx.fx_node": "…"}, "conv/bn")
    assert found == Provenance("conv/bn")
    assert found.statistics == "model"


def test_the_cumulative_average_has_no_momentum() -> None:
    assert "foldserve.momentum" not in Provenance("a", momentum=None).to_metadata()
