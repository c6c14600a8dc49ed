"""The fold report: as data, as JSON, as a table."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from tests.graphs import Builder
from training.fold import FoldResult, fold, prove


def _result() -> FoldResult:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", 3, 2, 3, 3)], "c", name="conv")
    statistics = {n: np.ones(3, np.float32) for n in ("scale", "bias", "mean", "var")}
    statistics["scale"][:] = [0, -2, 0.5]
    builder.normalize("c", "stem[0]", statistics, epsilon=0.0)
    builder.op("Relu", ["stem[0]"], "r", name="relu")
    builder.normalize("r", "tail", 3)
    return fold(builder.model({"x": ["N", 2, 8, 8]}, ["tail"]))


def test_every_layer_tells_where_it_went() -> None:
    result = _result()
    stem, tail = result.report.layers
    assert (stem.rule, stem.folded_into, stem.refusal, stem.output) == (
        "conv",
        "conv",
        None,
        "stem[0]",
    )
    assert (stem.gain_min, stem.gain_max, stem.channels) == (0.0, 2.0, 3)
    assert stem.findings == (
        "1 of 3 channels have a multiplier of zero and are constant, whatever the input: 0",
    )
    assert (tail.rule, tail.folded_into, tail.output) == (None, None, "tail")
    assert [layer.name for layer in result.normalizations] == ["stem[0]", "tail"]


def test_the_network_is_counted_before_and_after() -> None:
    report = _result().report
    assert (report.nodes_before, report.nodes_after, report.folded) == (4, 3, 1)
    assert report.bytes_after < report.bytes_before


def test_json_holds_all_of_it_and_no_infinity() -> None:
    result = _result()
    proof = prove(result.model, result.model)
    report = result.report.with_equivalence(replace(proof, error=float("inf")))
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["layers"][0]["name"] == "stem[0]"
    assert told["equivalence"]["error"] is None
    assert told["equivalence"]["passed"] is True
    assert told["folded"] == 1


def test_the_table_shows_names_and_refusals_as_they_are() -> None:
    output = StringIO()
    Console(file=output, width=160).print(_result().report.table())
    text = output.getvalue()
    assert "stem[0]" in text
    assert "left: backward: it comes from Relu 'relu', which no line with a" in text
    assert "1 of 2 normalization layers folded; 4 → 3 nodes" in text
