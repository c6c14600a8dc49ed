"""Writes a bundle: fold, prove, probe, check on the serving runtime, and put in place as a whole.

The format belongs to its reader (`service.manifest`, `service.bundle`). The three checks are made
on the very bytes and the very runtime that will be served; a network that fails one is not written.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from service import __version__
from service.bundle import first_fault
from service.errors import BadBundle
from service.manifest import (
    DIAGNOSIS,
    FOLD_REPORT,
    FORMAT_VERSION,
    LAYERS,
    MANIFEST,
    MODEL,
    NAME_RULE,
    PROBE,
    SIGNATURES,
    SOURCE,
    STATISTICS,
    Baseline,
    Check,
    Checks,
    FileEntry,
    Manifest,
    Preprocessing,
    Recalibration,
    is_model_name,
)
from service.runtime import OnnxRuntime
from service.verification import check_batch_invariance, check_frozen
from training.baseline import Reference, baseline_of, baseline_words
from training.doctor import Diagnosis, examine, from_onnx
from training.errors import AnswerIsNo, UnusableInput
from training.files import sha256_of, sync_folder, write_bytes
from training.fold import FoldResult, fold
from training.fold.equivalence import CannotProve, Equivalence, prove
from training.layer_records import layer_records, signatures_archive, statistics_archive
from training.probe import add_probes


@dataclass(frozen=True, slots=True)
class Description:
    """What a bundle says of itself beside what is computed; `version` None for the next one."""

    name: str
    version: int | None = None
    derivation: str = "bundled from an ONNX file"
    parent_version: int | None = None
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    output_activation: Literal["softmax", "none"] = "none"
    metrics: dict[str, float | str] = field(default_factory=dict)
    producer: dict[str, str] = field(default_factory=dict)
    recalibration: Recalibration | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle in its place, what its manifest says, and the fold that it came from."""

    folder: Path
    manifest: Manifest
    fold: FoldResult


def write_bundle(
    source: onnx.ModelProto,
    description: Description,
    models: Path,
    inputs: Mapping[str, NDArray[np.generic]] | None = None,
    reference: Reference | None = None,
    *,
    force: bool = False,
) -> Written:
    """Folds `source` and writes `models/<name>/<version>/`.

    `inputs` are rows to prove the fold on, by input name; random ones where none are given.
    `reference` is what drift is measured against; without it, what the layers' own parameters lead
    to expect. Raises UnusableInput for a name, a version or a network that cannot be used,
    AnswerIsNo when a check fails, or the doctor finds an error and `force` does not override it.
    Nothing is written in any of these cases.
    """
    _require_name(description.name)
    version = _free_version(models / description.name, description.version)
    folded = fold(source)
    _require_frozen(folded)
    diagnosis = _examine(source, description.name, folded, force=force)
    equivalence = prove_fold(source, folded.model, inputs)
    probed = add_probes(folded.model, folded.report)
    baseline = baseline_of(folded, probed, reference, description.preprocessing)
    served = folded.model.SerializeToString()
    runtime = _load(served)
    checks = Checks(
        frozen=check_frozen(runtime.run, runtime.inputs),
        batch_invariant=check_batch_invariance(runtime.run, runtime.inputs),
        parity=_parity(equivalence),
    )
    _require(checks)
    layers = layer_records(folded, probed, diagnosis, baseline)
    files = {
        MODEL: served,
        PROBE: probed.model.SerializeToString(),
        STATISTICS: statistics_archive(folded, baseline),
        LAYERS: _json([layer.model_dump(mode="json") for layer in layers]),
        DIAGNOSIS: _json(diagnosis.to_json()),
        FOLD_REPORT: _json(folded.report.with_equivalence(equivalence).to_json()),
        SOURCE: source.SerializeToString(),
    }
    if baseline.signatures is not None:
        files[SIGNATURES] = signatures_archive(baseline.signatures)
    watched = baseline_words(baseline, reference)
    manifest = _manifest(description, version, runtime, checks, files, (diagnosis, watched))
    folder = models / description.name / str(version)
    _put_in_place(folder, files | {MANIFEST: _json(manifest.model_dump(mode="json"))})
    return Written(folder, manifest, folded)


def _examine(source: onnx.ModelProto, name: str, folded: FoldResult, *, force: bool) -> Diagnosis:
    """The doctor's findings on the unfolded network; errors stop the work unless forced.

    Batch invariance and parity are left to the checks that follow, which are stricter.
    """
    diagnosis = examine(from_onnx(source, name, folded.report), ignore=("BN003", "BN021"))
    errors = diagnosis.errors
    if errors and not force:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise AnswerIsNo(f"{errors[0].sentence()}{more}; --force bundles it all the same")
    return diagnosis


def prove_fold(
    source: onnx.ModelProto,
    folded: onnx.ModelProto,
    inputs: Mapping[str, NDArray[np.generic]] | None = None,
    rows: int = 4,
) -> Equivalence:
    """`prove`, with UnusableInput where the networks cannot be compared at all."""
    try:
        return prove(source, folded, inputs, rows)
    except CannotProve as error:
        raise UnusableInput(f"the fold cannot be proved: {error}") from None


def _require_name(name: str) -> None:
    """Before any path is made of it, and before any work is done for it."""
    if not is_model_name(name):
        raise UnusableInput(f"name: {NAME_RULE}; got '{name}'")


def _free_version(folder: Path, wanted: int | None) -> int:
    """The version asked for, if it is free: a version is one function for ever."""
    taken = [int(p.name) for p in folder.glob("[1-9]*") if p.name.isdecimal()]
    version = wanted or max(taken, default=0) + 1
    if version in taken:
        raise UnusableInput(
            f"{folder / str(version)}: expected a free version, found a bundle; versions are "
            f"immutable, the next free one is {max(taken) + 1}"
        )
    return version


def _load(model: bytes) -> OnnxRuntime:
    try:
        return OnnxRuntime(model, threads=len(os.sched_getaffinity(0)))
    except BadBundle as error:
        raise UnusableInput(f"the folded network cannot be served: {error}") from None


def _parity(equivalence: Equivalence) -> Check:
    return Check(
        passed=equivalence.passed,
        figure=max(equivalence.error, equivalence.error_optimized),
        limit=equivalence.limit,
        detail=equivalence.summary(),
    )


def _require(checks: Checks) -> None:
    """A bundle that would break a promise is not written."""
    for name, check in checks:
        if not check.passed:
            raise AnswerIsNo(
                f"check '{name}' failed: expected at most {check.limit:g}, got {check.figure:.3g} "
                f"({check.detail})"
            )


def _require_frozen(folded: FoldResult) -> None:
    """A layer that is no line per channel has no frozen statistics to keep."""
    frozen = {norm.name for norm in folded.normalizations}
    for record in folded.report.layers:
        if record.name not in frozen:
            raise AnswerIsNo(f"layer '{record.name}' cannot be frozen: {record.refusal}")


def _manifest(
    description: Description,
    version: int,
    runtime: OnnxRuntime,
    checks: Checks,
    files: Mapping[str, bytes],
    found: tuple[Diagnosis, Baseline | None],
) -> Manifest:
    diagnosis, baseline = found
    try:
        return Manifest(
            format_version=FORMAT_VERSION,
            name=description.name,
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            producer={
                "foldserve": __version__,
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            }
            | description.producer,
            parent_version=description.parent_version,
            derivation=description.derivation,
            inputs=runtime.inputs,
            outputs=runtime.outputs,
            preprocessing=description.preprocessing,
            labels=description.labels,
            output_activation=description.output_activation,
            metrics=description.metrics,
            checks=checks,
            forced=tuple(error.sentence() for error in diagnosis.errors),
            baseline=baseline,
            recalibration=description.recalibration,
            files={
                name: FileEntry(sha256=sha256_of(data), size=len(data))
                for name, data in files.items()
            },
        )
    except ValidationError as error:
        raise UnusableInput(f"manifest: {first_fault(error)}") from None


def _put_in_place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files beside `folder`, the manifest last, and renames them into place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UnusableInput(f"{folder}: expected a writable place, got {error.strerror}") from None
    try:
        staging.chmod(0o755)
        for name, data in files.items():
            write_bytes(staging / name, data)
        sync_folder(staging)
        os.rename(staging, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
