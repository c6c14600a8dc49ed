"""Every layer by its own name, with figures that NumPy computes from the same arrays."""

import httpx
import numpy as np
import pytest

from tests.service.bundles import LAYER, layer, statistics

FIELDS = ("scale", "bias", "mean", "var", "multiplier", "shift")


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1"])
def test_all_layers_in_summary(client: httpx.Client, path: str) -> None:
    report = client.get(f"{path}/normalization").json()
    (only,) = report["layers"]
    summaries = only.pop("summaries")
    assert only == {**layer(), "refusal": None, "dead_channels": [3]}
    for field in FIELDS:
        array = statistics()[f"{LAYER}/{field}"]
        assert summaries[field]["min"] == array.min()
        assert summaries[field]["max"] == array.max()
        assert summaries[field]["mean"] == pytest.approx(array.mean(), rel=1e-15)
        for quantile in ("0.05", "0.25", "0.5", "0.75", "0.95"):
            value = np.quantile(array, float(quantile))
            assert summaries[field]["quantiles"][quantile] == pytest.approx(value, rel=1e-15)


def test_promises_as_built_and_as_found_here(client: httpx.Client) -> None:
    report = client.get("/v2/models/tiny/normalization").json()
    assert set(report["checks"]["built"]) == {"frozen", "batch_invariant", "parity"}
    here = report["checks"]["here"]
    assert here["frozen"]["passed"]
    assert here["frozen"]["figure"] == 0
    assert here["batch_invariant"]["detail"].startswith("bit-equal in batches of 1, 2, 3,")
    assert report["row_by_row"] is False
    assert report["forced"] == ["BN005 error: initial"]
    assert (report["model_name"], report["model_version"]) == ("tiny", "2")


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1"])
def test_one_layer_with_its_arrays(client: httpx.Client, path: str) -> None:
    report = client.get(f"{path}/normalization/{LAYER}").json()
    arrays = statistics()
    assert report["frozen"] == {f: arrays[f"{LAYER}/{f}"].tolist() for f in FIELDS}
    assert report["moving"] == {
        "mean": arrays[f"{LAYER}/moving_mean"].tolist(),
        "var": arrays[f"{LAYER}/moving_var"].tolist(),
    }
    assert report["name"] == LAYER
    assert report["epsilon"] == 1e-5


def test_the_frozen_line_is_batch_normalization(client: httpx.Client) -> None:
    report = client.get(f"/v2/models/tiny/normalization/{LAYER}").json()
    frozen = {field: np.array(values) for field, values in report["frozen"].items()}
    x = np.linspace(-3, 3, 5)
    normalized = (x - frozen["mean"]) / np.sqrt(frozen["var"] + report["epsilon"])
    line = frozen["multiplier"] * x + frozen["shift"]
    np.testing.assert_allclose(line, frozen["scale"] * normalized + frozen["bias"], rtol=1e-12)
