"""Asks a running image what a user would, looks at its list of parts, and stops it under load.

Needs nothing but Python: `IMAGE_TEST_URL=http://127.0.0.1:8000 python tests/image_check.py`. Where
IMAGE_TEST_CONTAINER names the container, it is looked into and stopped, with IMAGE_TEST_ENGINE
(podman).
"""

import array
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
URL, CONTAINER = os.environ["IMAGE_TEST_URL"], os.environ.get("IMAGE_TEST_CONTAINER")
INFER = "/v2/models/mnist-cnn/infer"
HEADER = "Inference-Header-Content-Length"
CLIENTS, LOAD_S = 8, 1.0
# Run inside of the container: the list of parts, and what Python finds there.
INSPECT = """
import json
from importlib.metadata import distributions
with open("/opt/foldserve/sbom.cdx.json") as file:
    sbom = json.load(file)
print(json.dumps([sbom, [[d.name, d.version] for d in distributions(path=__import__("sys").path)]]))
"""


def ask(
    path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer, whatever the status."""
    request = urllib.request.Request(URL + path, body, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")


def check_answers() -> None:
    """Pictures and their labels, the promises of the bundles, an error in the one form."""
    expected = {"mnist-cnn": ("seven.png", "7"), "fashion-cnn": ("ankle-boot.png", "Ankle boot")}
    for model, (picture, label) in expected.items():
        data = (ROOT / "docs" / "examples" / picture).read_bytes()
        status, answer = ask(f"/v2/models/{model}/predict", data, {"Content-Type": "image/png"})
        assert (status, answer["predictions"][0]["label"]) == (200, label), answer
        say(f"{picture}: {answer['predictions'][0]}")
        status, answer = ask(f"/v2/models/{model}/normalization")
        promises = {**answer["checks"]["built"], **answer["checks"]["here"]}
        assert status == 200
        assert all(check["passed"] for check in promises.values()), promises
        assert all(layer["folded_into"] for layer in answer["layers"]), answer["layers"]
    status, answer = ask("/v2/models/nothing/infer", b"{}")
    assert (status, list(answer)) == (404, ["error"]), answer


def check_page() -> None:
    """The page, with all its parts: what one of them names is there."""
    left, found = ["/"], set[str]()
    while left:
        path = left.pop()
        found.add(path)
        with urllib.request.urlopen(URL + path, timeout=10) as response:
            text = response.read().decode()
            assert "default-src 'none'" in response.headers["Content-Security-Policy"], path
        named = {f"/page/{name}" for name in re.findall(r"""(?:/page/|from "\./)([\w.]+)""", text)}
        left += named - found - set(left)
    assert {"/page/app.js", "/page/style.css", "/page/strip.js"} <= found, found
    say(f"the page and {len(found) - 1} parts of it")


def tensor(binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with one image, as bytes or as JSON."""
    image = array.array("f", [i / 784 for i in range(784)])
    entry: dict[str, Any] = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32"}
    if not binary:
        return json.dumps({"inputs": [{**entry, "data": image.tolist()}]}).encode(), {}
    entry["parameters"] = {"binary_data_size": len(image.tobytes())}
    head = json.dumps({"inputs": [entry]}).encode()
    return head + image.tobytes(), {HEADER: str(len(head))}


def check_tensors() -> None:
    """A binary tensor is answered as the same numbers in JSON are."""
    answers = [ask(INFER, *tensor(binary)) for binary in (False, True)]
    assert answers[0][0] == 200, answers
    assert answers[0][1]["outputs"] == answers[1][1]["outputs"], answers
    say(f"binary tensor: {answers[1][1]['outputs'][0]['data'][:3]}…")


def check_parts(container: str) -> None:
    """The list of parts names what is installed, and nothing that only this machine knows."""
    sbom, installed = json.loads(engine("exec", container, "python", "-c", INSPECT))
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "foldserve")
    listed = {(part["name"].lower(), part["version"]) for part in sbom["components"]}
    found = {(name.lower(), version) for name, version in installed} - {
        ("foldserve", version) for _, version in installed
    }
    assert listed - {("foldserve", version) for _, version in installed} == found, listed ^ found
    label = json.loads(engine("inspect", container))[0]["Config"]["Labels"]["foldserve.sbom"]
    assert label == "/opt/foldserve/sbom.cdx.json"
    say(f"parts: {len(listed)} as installed, at {label}")


def check_stop(container: str) -> None:
    """Stops the container while clients ask as fast as they are answered; none loses an answer."""
    results: Counter[str] = Counter()
    threads = [threading.Thread(target=client, args=(results,)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(LOAD_S)
    engine("stop", "--time", "20", container)
    for thread in threads:
        thread.join()
    assert set(results) == {"answered"}, results
    say(f"stopped under load: {results['answered']} requests, every one answered")


def client(results: Counter[str]) -> None:
    """Asks until no connection is given any more."""
    body, headers = tensor(binary=True)
    address = URL.removeprefix("http://")
    goes_on = True
    while goes_on:
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.connect()
        except OSError:  # refused: nothing was sent
            return
        asks = True
        while asks:
            asks, goes_on = once(connection, body, headers, results)
        connection.close()


def once(
    connection: http.client.HTTPConnection,
    body: bytes,
    headers: dict[str, str],
    results: Counter[str],
) -> tuple[bool, bool]:
    """One request: whether the connection, and whether the service, may be used again."""
    try:
        connection.request("POST", INFER, body, headers)
        answer = connection.getresponse()
        whole = len(answer.read()) == int(answer.headers["content-length"])
    except (OSError, http.client.HTTPException) as error:
        results[f"lost: {type(error).__name__}"] += 1
        return False, False
    results["answered" if answer.status == 200 and whole else f"status {answer.status}"] += 1
    return answer.headers.get("connection", "").lower() != "close", True


def engine(*arguments: str) -> str:
    """What the container engine prints."""
    command = [os.environ.get("IMAGE_TEST_ENGINE", "podman"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def main() -> int:
    """0 when every answer is right."""
    check_answers()
    check_page()
    check_tensors()
    if CONTAINER:
        check_parts(CONTAINER)
        check_stop(CONTAINER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
