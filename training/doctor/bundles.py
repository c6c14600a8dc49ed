"""The doctor's view of a bundle: its unfolded network where it keeps one, else what it records."""

from pathlib import Path

import onnx

from service.bundle import Bundle, open_bundle
from service.errors import BadBundle
from service.manifest import MODEL, SOURCE
from training.doctor.layer import Layer
from training.doctor.momentum import Momentum
from training.doctor.network import Network
from training.doctor.onnx_networks import layers_of
from training.doctor.patient import Patient, as_float
from training.errors import UnusableInput


def from_bundle(folder: Path) -> Patient:
    """A patient that is a bundle; UnusableInput where it is damaged."""
    try:
        bundle = open_bundle(folder.resolve())
        served = onnx.ModelProto.FromString(bundle.read(MODEL))
        source = bundle.read(SOURCE) if (folder / SOURCE).exists() else None
    except BadBundle as error:
        raise UnusableInput(f"{folder}: expected a bundle: {error}") from None
    note = f"the bundle was written without {SOURCE}: rules on the graph cannot look"
    network = None if source is None else Network(onnx.ModelProto.FromString(source))
    return Patient(
        str(folder),
        _recorded(bundle) if network is None else layers_of(network),
        network=network,
        served=served,
        recorded=bundle.layers,
        pictures=bundle.manifest.preprocessing,
        notes=(note,) if network is None else (),
    )


def _recorded(bundle: Bundle) -> tuple[Layer, ...]:
    layers = []
    for record in bundle.layers:
        arrays = {k: as_float(a) for k, a in bundle.statistics[record.name].items()}
        layers.append(
            Layer(
                record.name,
                arrays["scale"],
                arrays["bias"],
                arrays["mean"],
                arrays["var"],
                epsilon=record.epsilon,
                momentum=None if record.momentum is None else Momentum(record.momentum, "PyTorch"),
                count=record.count,
                estimator=record.statistics,
                moving_mean=arrays.get("moving_mean"),
                moving_var=arrays.get("moving_var"),
            )
        )
    return tuple(layers)
