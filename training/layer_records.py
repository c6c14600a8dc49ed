"""What a bundle keeps of each normalization layer: its words, and its arrays."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.bundle import BASELINE_FIELDS
from service.drift.baseline import Baseline, LayerBaseline
from service.drift.changes import Signatures
from service.drift.reading import SIGNATURE_FIELDS
from service.manifest import Layer, ProbeOutputs
from service.manifest import LayerBaseline as LayerBaselineWords
from training.doctor import Diagnosis
from training.fold import FoldResult
from training.probe import Probed
from training.provenance import Provenance, read_provenance


def layer_records(
    folded: FoldResult, probed: Probed, diagnosis: Diagnosis, baseline: Baseline
) -> list[Layer]:
    """The words of every layer, with what the fold and the doctor found, in network order."""
    metadata = {norm.name: norm.metadata for norm in folded.normalizations}
    watched = {layer.name: layer for layer in baseline.layers}
    layers = []
    for record in folded.report.layers:
        provenance = read_provenance(metadata[record.name], record.name)
        outputs = probed.outputs.get(record.name)
        layers.append(
            Layer(
                name=record.name,
                node=record.node,
                operator=record.operator,
                channels=record.channels or 0,
                epsilon=record.epsilon or 0.0,
                momentum=provenance.momentum,
                count=provenance.count,
                statistics=provenance.statistics,
                folded_into=record.folded_into,
                rule=record.rule,
                refusal=record.refusal,
                probe=None
                if outputs is None
                else ProbeOutputs(mean=outputs[0], mean_square=outputs[1]),
                baseline=_baseline_words(watched.get(record.name)),
                findings=(*record.findings, *_sentences(diagnosis, record.name)),
            )
        )
    return layers


def statistics_archive(folded: FoldResult, baseline: Baseline) -> bytes:
    """Every array of every layer under `<layer>/<field>`, in NumPy's own archive."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for norm in folded.normalizations:
        provenance: Provenance = read_provenance(norm.metadata, norm.name)
        fields = {
            "scale": norm.scale,
            "bias": norm.bias,
            "mean": norm.mean,
            "var": norm.var,
            "multiplier": norm.multiplier,
            "shift": norm.shift,
            "moving_mean": provenance.moving_mean,
            "moving_var": provenance.moving_var,
        }
        arrays |= {f"{norm.name}/{k}": v for k, v in fields.items() if v is not None}
    for layer in baseline.layers:
        vectors = (layer.mean, layer.var, layer.mean_spread, layer.var_spread)
        for name, vector in zip(BASELINE_FIELDS, vectors, strict=True):
            arrays[f"{layer.name}/{name}"] = vector.astype(np.float32)
    return _archive(arrays)


def signatures_archive(signatures: Signatures) -> bytes:
    """Every array of the signatures of known changes, and their names."""
    arrays = {name: getattr(signatures, name) for name in SIGNATURE_FIELDS}
    return _archive({"changes": np.array(signatures.changes), **arrays})


def _archive(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _baseline_words(layer: LayerBaseline | None) -> LayerBaselineWords | None:
    if layer is None:
        return None
    return LayerBaselineWords(
        mean_degrees=layer.mean_degrees,
        var_degrees=layer.var_degrees,
        mean_floor=layer.mean_floor,
        var_floor=layer.var_floor,
        distance=layer.distance,
        calibration=layer.calibration,
    )


def _sentences(diagnosis: Diagnosis, layer: str) -> list[str]:
    return [found.sentence() for found in diagnosis.of_layer(layer)]
