"""`foldserve fold`: an ONNX file with its normalization layers folded into the weights."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.console import output, print_json, say, working
from training.cli.options import Json

if TYPE_CHECKING:
    import onnx

    from training.fold import FoldReport
    from training.fold.latency import Latency

ROWS_DRAWN, ROWS_OF_DATA = 4, 64

Source = Annotated[Path, typer.Argument(metavar="IN", help="The network, as an ONNX file.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="The folded network to write.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Rows to prove it on, as .npz: arrays by input name, or 'images'."),
]
Rows = Annotated[
    int | None,
    typer.Option(min=1, help="Rows of the proof: 4 drawn ones, or the first 64 of --data."),
]
Report = Annotated[Path | None, typer.Option("--report", help="Write the fold report as JSON.")]
Time = Annotated[
    bool, typer.Option("--time", help="Also time both networks in ONNX Runtime, for a few seconds.")
]


def fold(
    source: Source,
    target: Target,
    data: Data = None,
    rows: Rows = None,
    report: Report = None,
    time: Time = False,
    as_json: Json = False,
) -> None:
    """Folds every normalization layer that can be folded exactly, and proves it.

    Nothing is written when the folded network's answers are not those of a float64 evaluation of
    the original; the exit code is 1 then.

    Example: `foldserve fold resnet18.onnx folded.onnx --report fold.json`
    """
    import orjson

    from training.bundle import prove_fold
    from training.cli.rows import read_rows_for
    from training.errors import AnswerIsNo
    from training.files import write_bytes
    from training.fold import fold as fold_model
    from training.onnx_files import read_onnx, write_onnx

    model = read_onnx(source)
    given = None if data is None else read_rows_for(model, data, most=rows or ROWS_OF_DATA)
    with working("folding and proving"):
        result = fold_model(model)
        proof = prove_fold(model, result.model, given, rows or ROWS_DRAWN)
    told = result.report.with_equivalence(proof)
    if report is not None:
        write_bytes(report, orjson.dumps(told.to_json(), option=orjson.OPT_INDENT_2))
    if not proof.passed:
        raise AnswerIsNo(f"{source}: {proof.summary()}; {target} was not written")
    write_onnx(result.model, target)
    _tell(told, _time(model, result.model) if time else None, as_json)
    if not as_json:
        say(f"wrote {target}")


def _time(model: "onnx.ModelProto", folded: "onnx.ModelProto") -> "Latency":
    from training.fold.latency import compare_latency

    with working("timing"):
        return compare_latency(model, folded)


def _tell(report: "FoldReport", latency: "Latency | None", as_json: bool) -> None:
    if as_json:
        timed = {} if latency is None else {"latency": asdict(latency)}
        print_json(report.to_json() | timed)
        return
    output.print(report.table())
    if latency is not None:
        say(latency.summary())
