"""The bundle that a new version comes from: its network with its layers, unfolded or put back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import orjson

from service.bundle import Bundle, open_bundle, read_manifest
from service.errors import BadBundle
from service.manifest import FOLD_REPORT, MODEL, PROBE, SOURCE, Manifest
from training.errors import UnusableInput
from training.recalibrate.unfold import unfold


@dataclass(frozen=True, eq=False)
class Parent:
    """`network` has every layer; `method` tells whether the bundle kept it so (`source`) or they
    were put back into the folded one (`folded`). `served` and `probe` are the bundle's own."""

    bundle: Bundle
    network: onnx.ModelProto
    method: Literal["source", "folded"]
    served: onnx.ModelProto
    probe: onnx.ModelProto

    @property
    def probes(self) -> dict[str, tuple[str, str]]:
        """The two outputs of `probe` for each watched layer, in network order."""
        return {
            layer.name: (layer.probe.mean, layer.probe.mean_square)
            for layer in self.bundle.layers
            if layer.probe is not None
        }


def open_manifest(folder: Path) -> Manifest:
    """What the bundle says of itself; UnusableInput where it is none."""
    try:
        return read_manifest(folder.resolve())
    except BadBundle as error:
        raise UnusableInput(f"{folder}: expected a bundle: {error}") from None


def open_parent(folder: Path) -> Parent:
    """Reads and verifies the bundle; UnusableInput where it is damaged, or its layers cannot be put
    back."""
    try:
        bundle = open_bundle(folder.resolve())
        served, probe = (onnx.ModelProto.FromString(bundle.read(name)) for name in (MODEL, PROBE))
        kept = (bundle.folder / SOURCE).exists() and SOURCE in bundle.manifest.files
        source = bundle.read(SOURCE) if kept else None
        report = orjson.loads(bundle.read(FOLD_REPORT))
    except BadBundle as error:
        raise UnusableInput(f"{folder}: expected a bundle: {error}") from None
    if source is not None:
        return Parent(bundle, onnx.ModelProto.FromString(source), "source", served, probe)
    outputs = {layer["name"]: layer["output"] for layer in report["layers"]}
    network = unfold(served, bundle.layers, bundle.statistics, outputs)
    return Parent(bundle, network, "folded", served, probe)
