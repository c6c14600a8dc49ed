"""What folding tools leave of batch normalization, how exact they are, and how fast the result is.

    python benchmarks/folding.py [--python INTERPRETER] [--only WORDS] [--no-latency]

INTERPRETER has the other tools (onnxruntime, onnxsim, onnxslim, onnxoptimizer, onnxscript); by
default the one that runs this. A tool that it lacks is marked "not installed". The networks need
PyTorch; without it they are left out. Prints Markdown; takes a few minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import folding_table as table  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from folding_graphs import Case, cases  # noqa: E402
from folding_judge import Judge, Result  # noqa: E402
from folding_tools import TOOLS  # noqa: E402

from training.fold import fold  # noqa: E402

OURS, UNFOLDED = "foldserve", "unfolded"
TOOL_TIMEOUT_S = 120


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    python: str
    only: str
    latency: bool


def networks(only: str) -> Iterator[Case]:
    """The networks of `training.networks` with seeded statistics, exported with every layer."""
    try:
        import torch

        from training.export import Signature, export
        from training.networks import NETWORKS, build
    except ImportError:
        print("The networks are left out: PyTorch is not installed.\n")
        return
    for name, architecture in NETWORKS.items():
        if only not in name:
            continue
        torch.manual_seed(0)
        network = build(name)
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
        example = torch.zeros(1, *architecture.row)
        yield Case(name, export(network, example, Signature()), {}, rows=2)


def run_tool(name: str, python: str, source: Path, target: Path, count: int) -> dict[int, str]:
    """Marks by file: 'crash' or 'fails'; {-1: …} where the tool is not installed. After a crash
    the tool is started again with the next file."""
    worker, marks, first = str(Path(__file__).parent / "folding_tools.py"), dict[int, str](), 0
    target.mkdir()
    while first < count:
        command = [python, worker, name, str(source), str(target), str(first)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S)
            code, said = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            code, said = -1, (error.stdout or b"").decode(errors="replace")
        last = table.read_lines(said, marks)
        if -1 in marks or code == 0:
            break
        marks[max(last, first)] = "crash"
        first = max(last, first) + 1
    return marks


def measure(case: Case, index: int, folders: dict[str, Path], arguments: Arguments) -> list[Result]:
    """One result for each tool, in the order of the columns. The networks are let go of again:
    together they would not fit into memory."""
    judge = Judge(case)
    files = {UNFOLDED: case.model, OURS: fold(case.model).model}
    results = [judge.judge(name, model) for name, model in files.items()]
    for name, folder in folders.items():
        path = folder / f"{index:03}.onnx"
        try:
            results.append(judge.judge(name, onnx.load(path) if path.is_file() else None))
        except Exception:  # a file that is no ONNX file
            results.append(judge.judge(name, None, "invalid"))
    if arguments.latency:
        judge.time(results)
    for result in results:
        result.model = None
    return results


def without_model(case: Case) -> Case:
    """What is left when its network has been written to a file."""
    return replace(case, model=onnx.ModelProto())


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter with the tools")
    parser.add_argument("--only", default="", help="only graphs with these words in their name")
    parser.add_argument("--no-latency", dest="latency", action="store_false")
    arguments = Arguments(**vars(parser.parse_args()))
    generated = (case for case in cases() if arguments.only in case.name)
    found = list[Case]()
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "source")
        source.mkdir()
        for index, case in enumerate(chain(networks(arguments.only), generated)):
            onnx.save(case.model, source / f"{index:03}.onnx")
            found.append(without_model(case))
        folders, marks = dict[str, Path](), dict[str, dict[int, str]]()
        for number, name in enumerate(TOOLS):
            folders[name] = Path(temporary, str(number))
            marks[name] = run_tool(name, arguments.python, source, folders[name], len(found))
        rows = list[tuple[str, list[Result]]]()
        for index, case in enumerate(found):
            print(f"{case.name} ({index + 1} of {len(found)})", file=sys.stderr)
            loaded = replace(case, model=onnx.load(source / f"{index:03}.onnx"))
            rows.append((case.name, measure(loaded, index, folders, arguments)))
    table.add_marks(rows, marks)
    table.print_all(rows, OURS, UNFOLDED)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
