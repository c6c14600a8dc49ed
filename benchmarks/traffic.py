"""Sends test digits to a running service as pictures, ordinary or brighter, and counts.

    python benchmarks/traffic.py [URL] [--version N] [--images N] [--first N] [--brighter SHARE]

For the walk in docs/operations.md. The digits are every second one of MNIST's test set, from the
second: the others made the baseline of the shipped bundle. Prints the accuracy, and what the
service says of its traffic.
"""

import argparse
import io
import json
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from training.data import load

MODEL = "/v2/models/mnist-cnn/versions/"


def post(url: str, body: bytes) -> dict[str, object]:
    """The answer to a picture."""
    request = urllib.request.Request(url, body, {"content-type": "image/png"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def main() -> None:
    """Prints two lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--brighter", type=float, default=0.0, help="share of the range of pixels")
    arguments = parser.parse_args()
    data, place = load("mnist"), f"{arguments.url}{MODEL}{arguments.version}"
    rows = slice(2 * arguments.first + 1, 2 * (arguments.first + arguments.images), 2)
    right = 0
    for pixels, label in zip(data.test_images[rows], data.test_labels[rows], strict=True):
        light = pixels.astype(int) + round(255 * arguments.brighter)
        brighter = np.minimum(light, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(brighter).save(file, "PNG")
        (prediction,) = post(f"{place}/predict", file.getvalue())["predictions"]  # type: ignore[misc]
        right += prediction["index"] == label
    print(f"{right} of {arguments.images} digits are right")
    time.sleep(2)  # what was sampled is looked at beside the answers
    with urllib.request.urlopen(f"{place}/drift") as answer:
        drift = json.load(answer)
    cause = f"; likely cause: {drift['likely_cause']}" if drift["likely_cause"] else ""
    print(f"{drift['verdict']}, {drift['n']} images: {drift['diagnosis']}{cause}")


if __name__ == "__main__":
    main()
