"""Rules that need data, or what is known of training."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.graphs import Array, Builder, run
from tests.training.doctor.networks import (
    CHANNELS,
    LAYERS,
    ask,
    diagnose,
    healthy,
    rows,
    statistic,
)
from training.doctor import Patient, examine, from_onnx
from training.doctor.observation import observe
from training.doctor.patient import Training
from training.doctor.rows import Kind, Rows
from training.provenance import Provenance


def _shown(
    model: onnx.ModelProto,
    data: Array | None = None,
    kind: Kind = "unknown",
    labels: Array | None = None,
    batch: int | None = None,
) -> Patient:
    given = None if data is None else Rows({"x": data}, labels, kind)
    training = None if batch is None else Training(batch)
    return replace(from_onnx(model), rows=given, training=training)


def _shifted(deviations: float) -> onnx.ModelProto:
    """Both layers' means moved by so many deviations."""
    changes = {
        f"{layer}.mean": (
            statistic(f"{layer}.mean") + deviations * np.sqrt(statistic(f"{layer}.var"))
        ).astype(np.float32)
        for layer in LAYERS
    }
    return healthy(changes)


def _with_provenance(**fields: object) -> onnx.ModelProto:
    model = healthy()
    for node in model.graph.node:
        if node.name in LAYERS:
            known = Provenance(layer=node.name, **fields)  # type: ignore[arg-type]
            for key, value in known.to_metadata().items():
                node.metadata_props.add(key=key, value=value)
    return model


def test_observed_statistics_are_those_of_the_definition() -> None:
    patient = _shown(healthy(), rows(256), "training")
    assert patient.network is not None
    assert patient.rows is not None
    model = healthy()
    model.graph.output.append(onnx.helper.make_tensor_value_info("second.conv", 1, None))
    data = run(model, x=rows(256))[1].astype(np.float64)
    seen = observe(patient.network, patient.layers, patient.rows, 32, batch_statistics=False)
    second = seen.layers["second"]
    np.testing.assert_allclose(second.mean, data.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(second.var, data.var(axis=(0, 2, 3)), rtol=1e-5)
    per_row = data.mean(axis=(2, 3)).var(axis=0, ddof=1)
    np.testing.assert_allclose(second.between_rows, per_row, rtol=1e-4)


def test_batch_statistics_do_not_depend_on_what_is_frozen_upstream() -> None:
    seen = [
        _shown(model, rows(320), "training").batchwise.layers["second"]
        for model in (healthy(), _shifted(3))
    ]
    np.testing.assert_allclose(seen[0].mean, seen[1].mean, rtol=0, atol=1e-3)
    np.testing.assert_allclose(seen[0].var, seen[1].var, rtol=1e-3)


@pytest.mark.parametrize("opset", [9, 13, 17, 18, 20])
def test_rows_can_be_observed_in_every_opset(opset: int) -> None:
    builder = Builder()
    builder.op("MatMul", ["x", builder.weight("w", 4, CHANNELS)], "product")
    statistics = {
        "scale": np.ones(CHANNELS, np.float32),
        "bias": np.zeros(CHANNELS, np.float32),
        "mean": np.full(CHANNELS, 0.1, np.float32),
        "var": np.full(CHANNELS, 4, np.float32),
    }
    builder.normalize("product", "y", statistics)
    model = builder.model({"x": ["batch", 4]}, ["y"], opset=opset)
    data = np.random.default_rng(0).standard_normal((128, 4)).astype(np.float32)
    patient = _shown(model, data, "training")
    exact = data.astype(np.float64) @ builder.constants["w"]
    for seen in (patient.frozen, patient.batchwise):
        np.testing.assert_allclose(seen.layers["y"].mean, exact.mean(axis=0), rtol=0, atol=1e-5)
        np.testing.assert_allclose(seen.layers["y"].var, exact.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "severity"), [("training", "error"), ("unknown", "warning"), ("live", None)]
)
def test_statistics_of_other_weights_are_found(kind: Kind, severity: str | None) -> None:
    diagnosis = diagnose(_shown(_shifted(0.5), rows(1200), kind), "BN023")
    assert [found.severity for found in diagnosis.findings] == ([severity] * 2 if severity else [])
    if severity is None:
        assert "training data" in diagnosis.not_checked["BN023"]
    else:
        assert diagnosis.findings[0].measured == pytest.approx(0.5, abs=0.02)


def test_few_rows_estimate_nothing() -> None:
    diagnosis = diagnose(_shown(_shifted(0.5), rows(999), "training"), "BN023")
    assert diagnosis.not_checked == {"BN023": "at least 1000 rows of data; there are 999"}


def test_a_moving_average_that_is_not_precise_is_warned_of() -> None:
    found = ask(_shown(_shifted(0.07), rows(), "training"), "BN024")
    assert [(f.severity, f.layer) for f in found] == [("warning", "first"), ("warning", "second")]
    assert ask(_shown(_shifted(0.07), rows(), "training"), "BN023") == ()
    assert ask(_shown(_shifted(0.5), rows(), "training"), "BN024") == ()  # BN023 speaks


def test_moving_averages_beside_population_statistics_are_compared() -> None:
    model = _with_provenance(
        statistics="population",
        moving_mean=statistic("second.mean") * 2,
        moving_var=statistic("second.var"),
    )
    found = ask(from_onnx(model), "BN024")
    assert {f.severity for f in found} == {"info"}
    assert "The precise ones are frozen" in found[0].message


def test_a_gap_between_batch_and_frozen_statistics_is_found() -> None:
    labels = run(healthy(), x=rows())[0].argmax(axis=1)
    (found,) = ask(_shown(_shifted(1.5), rows(), labels=labels), "BN025")
    assert found.measured is not None
    assert found.measured > 1
    assert ask(_shown(healthy(), rows(), labels=labels), "BN025") == ()
    unlabelled = diagnose(_shown(healthy(), rows()), "BN025")
    assert "labels" in unlabelled.not_checked["BN025"]


def _flat() -> onnx.ModelProto:
    """A layer on [N, C]."""
    builder = Builder()
    builder.normalize("x", "n", CHANNELS)
    builder.op("Relu", ["n"], "y")
    return builder.model({"x": ["batch", CHANNELS]}, ["y"])


def test_mini_batches_that_are_too_small_are_found() -> None:
    assert [f.severity for f in ask(_shown(_flat(), batch=1), "BN026")] == ["error", "warning"]
    assert [f.severity for f in ask(_shown(healthy(), batch=1), "BN026")] == ["warning"]
    assert [f.severity for f in ask(_shown(_flat(), batch=15), "BN026")] == ["warning"]
    assert ask(_shown(_flat(), batch=16), "BN026") == ()
    last = replace(from_onnx(_flat()), training=Training(64, last_batch=1))
    assert [f.severity for f in ask(last, "BN026")] == ["error"]


def test_data_of_another_kind_is_far_from_the_frozen_statistics() -> None:
    other = rows(200) * 0.5
    found = ask(_shown(healthy(), other, "live"), "BN029")
    assert [(f.severity, f.layer) for f in found][:1] == [("warning", "first")]
    assert ask(_shown(healthy(), rows(200, seed=9), "live"), "BN029") == ()
    assert ask(_shown(healthy(), rows(8, seed=9), "live"), "BN029") == ()


@pytest.mark.parametrize("wrong", ["times 255", "inverted", "not standardized"])
def test_inputs_scaled_in_another_way_are_found(wrong: str) -> None:
    data = rows(200)
    spoilt = {"times 255": data * 255, "inverted": 2 - data, "not standardized": data * 0.2 + 3}
    (found,) = ask(_shown(healthy(), spoilt[wrong], "live"), "BN031")
    assert (found.severity, found.layer) == ("error", "first")
    noisy = data + np.random.default_rng(0).normal(0, 0.3, data.shape).astype(np.float32)
    assert ask(_shown(healthy(), noisy, "live"), "BN031") == ()


def test_sorted_mini_batches_are_found() -> None:
    data = rows(640)
    data += np.repeat(np.linspace(-1, 1, 10), 64)[:, None, None, None].astype(np.float32)
    (found,) = ask(_shown(healthy(), data, "training"), "BN033")
    assert found.severity == "warning"
    shuffled = np.random.default_rng(0).permutation(data)
    assert ask(_shown(healthy(), shuffled, "training"), "BN033") == ()


def test_spatial_correlation_biases_small_mini_batches() -> None:
    flat = np.repeat(rows(400)[:, :, :1, :1], 36, axis=2).reshape(400, 3, 6, 6)
    found = ask(_shown(healthy(), flat, batch=4), "BN034")
    assert {f.layer for f in found} == set(LAYERS)
    model = healthy()
    model.graph.output.append(onnx.helper.make_tensor_value_info("first.conv", 1, None))
    data = run(model, x=flat)[1].astype(np.float64)
    between_rows = data.mean(axis=(2, 3)).var(axis=0, ddof=1)
    share = (between_rows / data.var(axis=(0, 2, 3))).mean()
    assert found[0].measured == pytest.approx(share / 4, rel=1e-4)
    assert ask(_shown(healthy(), rows(400), batch=32), "BN034") == ()
    population = _with_provenance(statistics="population")
    assert ask(_shown(population, flat, batch=4), "BN034") == ()


def test_a_moving_average_that_remembers_its_beginning_is_found() -> None:
    short = _with_provenance(momentum=0.1, count=20, statistics="moving average")
    found = ask(from_onnx(short), "BN006")
    assert [f.layer for f in found] == list(LAYERS)
    assert found[0].measured == pytest.approx(0.9**20)
    assert "it needs 44" in found[0].message
    for fields in (
        {"momentum": 0.1, "count": 44, "statistics": "moving average"},
        {"momentum": 0.1, "count": 20, "statistics": "population"},
    ):
        assert ask(from_onnx(_with_provenance(**fields)), "BN006") == ()


def test_population_statistics_do_not_care_for_momentum() -> None:
    assert ask(from_onnx(_with_provenance(momentum=0.9, statistics="population")), "BN007") == ()
    found = ask(from_onnx(_with_provenance(momentum=0.9, statistics="moving average")), "BN007")
    assert "PyTorch meaning keeps 0.1 of the past" in found[0].message
    assert "Did you mean 0.1?" in found[0].message


def test_a_cumulative_average_has_no_momentum_to_warn_of() -> None:
    model = _with_provenance(count=100, statistics="moving average")
    for node in model.graph.node:
        if node.name in LAYERS:
            node.attribute.append(onnx.helper.make_attribute("momentum", 1.0))
    assert ask(from_onnx(model), "BN007") == ()


@pytest.mark.parametrize("kind", ["training", "unknown", "live"])
def test_no_rule_fires_on_healthy_data(kind: Kind) -> None:
    labels = run(healthy(), x=rows())[0].argmax(axis=1)
    diagnosis = examine(_shown(healthy(), rows(), kind, labels, batch=32))
    assert diagnosis.findings == ()


def test_a_fixed_batch_dimension_cannot_be_observed() -> None:
    model = healthy()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    diagnosis = diagnose(_shown(model, rows(200)), "BN031")
    assert diagnosis.not_checked == {"BN031": "a network whose batch dimension is free"}
