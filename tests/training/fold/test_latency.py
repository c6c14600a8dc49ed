"""Latency before and after: measured in turns, told in one line."""

import json

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from tests.graphs import Builder
from training.cli import app
from training.fold.latency import MAX_RUNS, MIN_RUNS, Latency, compare_latency


def _model(size: int) -> onnx.ModelProto:
    builder = Builder()
    data = builder.op("Conv", ["x", builder.weight("w", 8, 8, 3, 3)], "c")
    builder.op("Relu", [builder.normalize(data, "n", 8)], "y")
    return builder.model({"x": ["N", 8, size, size]}, ["y"])


def test_a_network_of_more_work_takes_longer() -> None:
    feeds = {"x": np.zeros((1, 8, 96, 96), np.float32)}
    twice = _model(96)
    again = onnx.helper.make_node("Conv", ["x", "w"], ["d"])
    added = onnx.helper.make_node("Add", ["y", "d"], ["z"])
    twice.graph.node.extend([again, added])
    twice.graph.output[0].name = "z"
    latency = compare_latency(twice, _model(96), feeds, budget_s=0.2)
    assert latency.before_ms > latency.after_ms > 0
    assert MIN_RUNS <= latency.runs <= MAX_RUNS


def test_no_time_left_is_still_a_few_runs() -> None:
    assert compare_latency(_model(8), _model(8), budget_s=0).runs == MIN_RUNS


def test_the_summary_is_one_line() -> None:
    assert Latency(3.0, 1.5, 7).summary() == (
        "ONNX Runtime, its optimizations on: 3 → 1.5 ms "
        "(2.00×; medians of 7 runs in turns, one row, one thread)"
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_fold_tells_the_latency_where_asked(
    tmp_path_factory: pytest.TempPathFactory, as_json: bool
) -> None:
    folder = tmp_path_factory.mktemp("fold")
    onnx.save(_model(8), folder / "in.onnx")
    options = ["--time", *(["--json"] if as_json else [])]
    done = CliRunner().invoke(
        app, ["fold", str(folder / "in.onnx"), str(folder / "out.onnx"), *options]
    )
    assert done.exit_code == 0, done.output
    if as_json:
        assert set(json.loads(done.stdout)["latency"]) == {"before_ms", "after_ms", "runs"}
    else:
        assert "ONNX Runtime, its optimizations on: " in done.output
