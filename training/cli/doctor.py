"""`foldserve doctor`: what is wrong with a network's normalization layers, and what to do."""

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.console import output, print_json, working
from training.cli.options import Json

if TYPE_CHECKING:
    from training.doctor import Patient


class DataKind(StrEnum):
    """Where the rows given with --data come from."""

    training = "training"
    live = "live"


class RelationChoice(StrEnum):
    """What the network given with --against is to the target."""

    same = "same"
    rank = "rank"
    precise = "precise"
    frozen = "frozen"


Target = Annotated[
    Path,
    typer.Argument(
        help="An ONNX file, a bundle's folder, a run's folder, or weights "
        "(.pt, .pth, .safetensors)."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Rows as .npz: arrays by input name, or 'images'; 'labels' if known."),
]
Kind = Annotated[
    DataKind | None, typer.Option("--data-is", help="Where the rows come from, if that is known.")
]
Batch = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Rows in a mini-batch of training.")
]
Against = Annotated[
    Path | None, typer.Option(help="Another target to compare with; see --relation.")
]
Relation = Annotated[
    RelationChoice,
    typer.Option(
        help="What that is: the same function (folded, converted), the same checkpoint of another "
        "rank, the same weights with precise statistics, or a state before layers were frozen."
    ),
]
Ignore = Annotated[list[str] | None, typer.Option(help="Leave a rule out; may be repeated.")]


def doctor(
    target: Target,
    data: Data = None,
    data_is: Kind = None,
    batch_size: Batch = None,
    against: Against = None,
    relation: Relation = RelationChoice.same,
    ignore: Ignore = None,
    as_json: Json = False,
) -> None:
    """Examines the normalization layers of a network, and says what to do about each finding.

    The exit code is 1 when there are errors. --json also tells which rules could not be checked,
    and what they would need.

    Example: `foldserve doctor network.onnx --data sample.npz --ignore BN019`
    """
    from training.doctor import examine
    from training.doctor.patient import Training
    from training.doctor.targets import open_target

    ignored = _known(ignore or [])
    with working("examining"):
        patient = open_target(target)
        if batch_size is not None:
            patient = replace(patient, training=Training(batch_size))
        if against is not None:
            patient = replace(patient, against=open_target(against), relation=relation.value)
        if data is not None:
            patient = _with_rows(patient, data, data_is)
        diagnosis = examine(patient, ignored)
    if as_json:
        print_json(diagnosis.to_json())
    elif diagnosis.findings:
        output.print(diagnosis.table())
    else:
        output.print("\n".join((diagnosis.summary(), *diagnosis.notes)), markup=False)
    if diagnosis.errors:
        sys.exit(1)


def _known(ignore: list[str]) -> tuple[str, ...]:
    from training.doctor import RULES
    from training.errors import UnusableInput

    known = {rule.id for rule in RULES}
    unknown = [name for name in ignore if name.upper() not in known]
    if unknown:
        raise UnusableInput(
            f"--ignore: expected a rule of {min(known)} to {max(known)}, got {unknown[0]}"
        )
    return tuple(name.upper() for name in ignore)


def _with_rows(patient: "Patient", data: Path, kind: DataKind | None) -> "Patient":
    from training.doctor.finding import NotChecked
    from training.doctor.rows import read_rows
    from training.errors import UnusableInput

    try:
        inputs = patient.runner.inputs
    except NotChecked as reason:
        raise UnusableInput(f"--data: expected {reason}") from None
    rows = read_rows(data, inputs, "unknown" if kind is None else kind.value, patient.pictures)
    return replace(patient, rows=rows)
