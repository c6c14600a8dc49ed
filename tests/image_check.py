"""Asks a running image what a user would: a digit, the statistics, and an error in its own form.

Needs nothing but Python: `IMAGE_TEST_URL=http://127.0.0.1:8000 python tests/image_check.py`.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def ask(
    path: str, body: bytes | None = None, kind: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer, whatever the status."""
    url = os.environ["IMAGE_TEST_URL"] + path
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main() -> int:
    """0 when every answer is right."""
    expected = {"mnist-cnn": ("seven.png", "7"), "fashion-cnn": ("ankle-boot.png", "Ankle boot")}
    for model, (picture, label) in expected.items():
        data = (ROOT / "docs" / "examples" / picture).read_bytes()
        status, answer = ask(f"/v2/models/{model}/predict", data, "image/png")
        assert (status, answer["predictions"][0]["label"]) == (200, label), answer
        print(f"{picture}: {answer['predictions'][0]}")  # noqa: T201
        status, answer = ask(f"/v2/models/{model}/normalization")
        promises = {**answer["checks"]["built"], **answer["checks"]["here"]}
        assert status == 200
        assert all(check["passed"] for check in promises.values()), promises
        assert all(layer["folded_into"] for layer in answer["layers"]), answer["layers"]
    status, answer = ask("/v2/models/nothing/infer", b"{}")
    assert (status, list(answer)) == (404, ["error"]), answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
