"""BN017: folded weights that one scale for the whole tensor cannot quantize.

Folding multiplies each channel by its own gain; with one int8 scale a tensor the weakest channel
keeps 8 - log₂(largest/its own) bits. MobileNetV2 falls from 71.7 % to 0.1 % this way (Nagel et al.
2019, Data-Free Quantization). Threshold: 4 bits in any channel that is not dead.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.producer import Producer, producer_of
from training.doctor.rule import Rule

BITS, LEAST = 8.0, 4.0


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer that follows constant weights."""
    patient.require_network()
    readable = [layer for layer in patient.layers if layer.multiplier is not None]
    pairs = [(layer, found) for layer in readable if (found := producer_of(layer)) is not None]
    if not pairs:
        raise NotChecked("layers that follow constant weights")
    for layer, producer in pairs:
        if layer.mean is not None:
            yield from _judge(layer, producer)


def _judge(layer: Layer, producer: Producer) -> Iterator[Finding]:
    size = np.nan_to_num(producer.folded_size(layer), nan=0.0, posinf=0.0)
    used = layer.live & (size > 0)
    if not used.any():
        return
    channel = int(np.argmin(np.where(used, size, np.inf)))
    bits = float(BITS - np.log2(size.max() / size[channel]))
    if bits < LEAST:
        yield Finding(
            "BN017",
            "warning",
            f"{layer.name}: per-tensor int8 leaves {max(bits, 0.0):.1f} bits for channel "
            f"{channel}; quantize per channel, or equalize across layers.",
            layer.name,
            channel,
            bits,
            LEAST,
        )


RULE = Rule("BN017", "folded weights quantize with one scale", check)
