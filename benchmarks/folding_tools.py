"""Runs one tool over a folder of ONNX files, in a process of its own, so that a crash ends no more.

    python folding_tools.py TOOL SOURCE_FOLDER TARGET_FOLDER FIRST_FILE

Prints a JSON line before and after each file. Needs only onnx and the tool itself, so it runs
in any Python environment.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

Tool = Callable[[Path, Path], None]


def _onnxruntime(level: str) -> Tool:
    ort: Any = importlib.import_module("onnxruntime")

    def run(source: Path, target: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return run


def _onnxsim() -> Tool:
    tool: Any = importlib.import_module("onnxsim")
    return _on_models(lambda model: tool.simplify(model)[0])


def _onnxslim() -> Tool:
    tool: Any = importlib.import_module("onnxslim")
    return _on_models(tool.slim)


def _onnxoptimizer() -> Tool:
    tool: Any = importlib.import_module("onnxoptimizer")
    passes = tool.get_fuse_and_elimination_passes()
    return _on_models(lambda model: tool.optimize(model, passes))


def _onnxscript() -> Tool:
    optimizer: Any = importlib.import_module("onnxscript.optimizer")
    rewriter: Any = importlib.import_module("onnxscript.rewriter")
    return _on_models(lambda model: rewriter.rewrite(optimizer.optimize(model)))


def _on_models(change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Tool:
    def run(source: Path, target: Path) -> None:
        onnx.save(change(onnx.load(source)), target)

    return run


TOOLS: dict[str, tuple[str, Callable[[], Tool]]] = {
    "ORT basic": ("onnxruntime", lambda: _onnxruntime("ORT_ENABLE_BASIC")),
    "ORT extended": ("onnxruntime", lambda: _onnxruntime("ORT_ENABLE_EXTENDED")),
    "ORT all": ("onnxruntime", lambda: _onnxruntime("ORT_ENABLE_ALL")),
    "onnxsim": ("onnxsim", _onnxsim),
    "onnxslim": ("onnxslim", _onnxslim),
    "onnxoptimizer": ("onnxoptimizer", _onnxoptimizer),
    "onnxscript": ("onnxscript", _onnxscript),
}


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)


def main(name: str, source: Path, target: Path, first: int) -> None:
    """Runs the tool; `first` is the index of the first file that it should take."""
    package, load = TOOLS[name]
    try:
        module = importlib.import_module(package)
        tool = load()
    except ImportError as error:
        _say(missing=str(error))
        return
    _say(version=str(getattr(module, "__version__", "?")))
    for index, path in list(enumerate(sorted(source.glob("*.onnx"))))[first:]:
        _say(begins=index)
        try:
            tool(path, target / path.name)
        except Exception as error:  # whatever a tool raises is a mark in its row
            _say(failed=index, words=str(error)[:200])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
