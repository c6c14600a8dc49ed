"""BN016: numbers that float16 does not hold.

float16 ends at 65504 and loses precision below 6.1e-5. A running variance beyond it becomes
infinite and the channel's output 0. In a float16 network overflow is an error. A float32 network
is well as it is: there it is a warning (do not convert), and underflow a remark. Thresholds:
any |W'|, |b'| or variance above 65504; more than 1 % of the non-zero folded weights below 6.1e-5.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.producer import Producer, producer_of
from training.doctor.rule import Rule

LARGEST, SMALLEST, SHARE = 65504.0, 6.1e-5, 0.01


def check(patient: Patient) -> Iterator[Finding]:
    """At most one finding of overflow and one of underflow a layer."""
    for layer in patient.require_layers():
        if layer.var is None or layer.mean is None:
            continue
        producer = producer_of(layer)
        half = producer is not None and producer.weight.dtype == np.float16
        yield from _overflow(layer, producer, half)
        if producer is not None:
            yield from _underflow(layer, producer, half)


def _overflow(layer: Layer, producer: Producer | None, half: bool) -> Iterator[Finding]:
    assert layer.var is not None
    kinds = {"var": layer.var}
    if producer is not None:
        kinds["folded bias"] = producer.folded_bias(layer)
        kinds["folded weight"] = producer.folded_size(layer)
    for name, array in kinds.items():
        size = np.nan_to_num(np.abs(array), nan=0.0, posinf=0.0)  # BN008 tells of those
        beyond = int((size > LARGEST).sum())
        if beyond:
            channel = int(np.argmax(size))
            yield Finding(
                "BN016",
                "error" if half else "warning",
                f"{layer.name}: {beyond} channels' {name} overflow in fp16, channel {channel} "
                f"with {size[channel]:.3g}. "
                + ("Use float32." if half else "Do not convert this layer to float16."),
                layer.name,
                channel,
                float(size[channel]),
                LARGEST,
            )


def _underflow(layer: Layer, producer: Producer, half: bool) -> Iterator[Finding]:
    share = producer.share_below(layer, SMALLEST)
    if share > SHARE:
        yield Finding(
            "BN016",
            "warning" if half else "info",
            f"{layer.name}: {share:.1%} of the folded weights underflow in fp16; keep this layer "
            "in float32 when converting.",
            layer.name,
            measured=share,
            threshold=SHARE,
        )


RULE = Rule("BN016", "folded numbers fit float16", check)
