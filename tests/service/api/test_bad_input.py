"""Every way to ask wrongly: the status, one sentence that says why, and a server that lives on."""

from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.api.requests import LENGTH, body, vector, with_binary
from tests.service.test_preprocessing import big_png, encoded

MODEL = "/v2/models/same_fp64"
SAME = f"{MODEL}/infer"
PREDICT = "/v2/models/tiny/predict"
LONG = "y" * 5000
DEEP = b"[" * 100_000

# path, body, headers, status, words in the sentence
Case = tuple[str, bytes, dict[str, str], int, str]


def infer(words: str, **changes: Any) -> Case:
    """A request to a model that takes x FP64 [-1, 3], spoilt in one place."""
    return SAME, body(vector(**changes)), {}, 400, words


def typed(datatype: str, data: list[Any], words: str) -> Case:
    path = f"/v2/models/same_{datatype.lower()}/infer"
    return path, body(vector(datatype=datatype, data=data)), {}, 400, words


def raw(content: bytes, words: str, status: int = 400, path: str = SAME) -> Case:
    return path, content, {}, status, words


def binary(size: object, sent: bytes, words: str) -> Case:
    entry = vector(data=..., parameters={"binary_data_size": size})
    content, headers = with_binary(body(entry), sent)
    return SAME, content, headers, 400, words


def header(value: str, words: str, path: str = SAME) -> Case:
    return path, body(vector()), {LENGTH: value}, 400, words


def outputs(value: object, words: str) -> Case:
    return SAME, body(vector(), outputs=value), {}, 400, words


def picture(content: bytes, status: int, words: str, kind: str = "image/png") -> Case:
    return PREDICT, content, {"content-type": kind}, status, words


def rows(content: bytes, words: str, path: str = PREDICT) -> Case:
    return path, content, {"content-type": "application/json"}, 400, words


def row_of(name: str, count: int) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [count, 3], "data": [0] * 3 * count}


PICTURE = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "u1")))
FORM = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nx\r\n--b--\r\n'
NAN = np.array([0, np.nan, 0]).tobytes()
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}

CASES: dict[str, Case] = {
    # shape, rank, type, count, name
    "shape": infer("expected shape [-1, 3], got [1, 4]", shape=[1, 4], data=[0] * 4),
    "rank": infer("got [3] (the first dimension is the batch", shape=[3]),
    "too many dimensions": infer("got [1, 3, 1]", shape=[1, 3, 1]),
    "absurd rank": infer("…", shape=[1] * 3000),
    "zero rows": infer("at least 1", shape=[0, 3], data=[]),
    "negative size": infer("integers of 0 or more as 'shape'", shape=[-1, 3]),
    "boolean size": infer("as 'shape'", shape=[True, 3]),
    "shape not a list": infer("as 'shape', got a string", shape="[1, 3]"),
    "no shape": infer("as 'shape', got nothing", shape=...),
    "datatype": infer("expected datatype FP64, got 'FP32'", datatype="FP32"),
    "long datatype": infer("y…'", datatype=LONG),
    "datatype not a string": infer("as 'datatype', got a number", datatype=64),
    "no datatype": infer("as 'datatype', got nothing", datatype=...),
    "too few": infer("expected 3 elements for shape [1, 3], got 2", data=[1, 2]),
    "too many": infer("expected 3 elements for shape [1, 3], got 4", data=[1, 2, 3, 4]),
    "huge shape": infer("expected shape", shape=[2**62, 2**62]),
    "many rows claimed": infer("got 3", shape=[2**62, 3]),
    "ragged": infer(
        "with 3 elements in dimension 1; got 2", shape=[2, 3], data=[[1, 2, 3], [4, 5]]
    ),
    "half nested": infer("dimension 1; got a number", shape=[2, 3], data=[[1, 2, 3], 4]),
    "nested too deeply": infer("expected numbers for FP64, got a list", data=[[[1], [2], [3]]]),
    "unknown input": infer("input: expected one of x; got 'z'", name="z"),
    "long name": infer("y…'", name=LONG),
    "no name": infer("expected a string as 'name', got nothing", name=...),
    "name not a string": infer("as 'name', got a list", name=["x"]),
    "no data": infer("got neither", data=...),
    "data not a list": infer("expected a list as 'data', got a number", data=1),
    "data and binary": infer("got both", parameters={"binary_data_size": 24}),
    "parameters not an object": infer("as 'parameters', got a list", parameters=[1]),
    "parameter an object": infer("as parameter 'a', got an object", parameters={"a": {}}),
    "parameter null": infer("as parameter 'a', got null", parameters={"a": None}),
    "shared memory": infer("shared memory", parameters={"shared_memory_region": "r"}),
    "missing input": raw(
        body(row_of("a", 1)), "expected a, b; missing b", path="/v2/models/sum/infer"
    ),
    "duplicate input": raw(body(vector(), vector()), "expected once, got it twice"),
    "rows disagree": raw(
        body(row_of("a", 1), row_of("b", 2)),
        "one number of rows",
        path="/v2/models/sum/infer",
    ),
    "fixed batch": raw(
        body(row_of("x", 1)), "expected shape [2, 3], got [1, 3]", path="/v2/models/pair/infer"
    ),
    # numbers
    "string": infer("expected numbers for FP64, got a string at [0, 1]", data=[1, "2", 3]),
    "boolean": infer("got a boolean at [0, 0]", data=[True, 2, 3]),
    "null": infer("got null at [0, 2]", data=[1, 2, None]),
    "fraction": typed("INT64", [1, 2.5, 3], "expected integers for INT64, got 2.5 at [0, 1]"),
    "number for BOOL": typed("BOOL", [True, 1, False], "expected true or false for BOOL, got 1"),
    "INT8 too large": typed("INT8", [0, 128, 0], "that INT8 can hold, got 128 at [0, 1]"),
    "UINT8 negative": typed("UINT8", [0, 0, -1], "that UINT8 can hold, got -1 at [0, 2]"),
    "INT64 too large": typed("INT64", [2**63, 0, 0], "that INT64 can hold, got 92233720"),
    "FP16 too large": typed("FP16", [0, 0, 65520], "that FP16 can hold, got 65520 at [0, 2]"),
    "1e39": raw(
        body(row_of("x", 2) | {"data": [0, 1e39, 0, 0, 0, 0]}),
        "that FP32 can hold, got 1e+39 at [0, 1]",
        path="/v2/models/logarithm/infer",
    ),
    "NaN": infer("input 'x': expected finite numbers, got nan at [0, 1]", data=[1, np.nan, 3]),
    "Infinity": infer("got inf at [0, 0]", data=[np.inf, 2, 3]),
    "-Infinity": infer("got -inf at [0, 2]", data=[[1, 2, -np.inf]]),
    "1e400": raw(body(vector()).replace(b"[1, 2,", b"[1, 1e400,"), "got inf at [0, 1]"),
    "NaN elsewhere": raw(body(vector(), comment=np.nan), "expected JSON"),
    "NaN in binary": binary(24, NAN, "expected finite numbers, got nan at [0, 1]"),
    "many digits": raw(
        body(vector()).replace(b"[1, 2,", b"[1, " + b"9" * 5000 + b","), "got inf at [0, 1]"
    ),
    # JSON
    "not JSON": raw(b"hello", "expected JSON"),
    "empty body": raw(b"", "expected JSON"),
    "truncated JSON": raw(body(vector())[:-3], "expected JSON"),
    "not UTF-8": raw(b'{"inputs": "\xff"}', "expected JSON"),
    "list": raw(b"[]", "expected an object, got a list"),
    "deep": raw(DEEP, "expected JSON"),
    "deep with NaN": raw(b"[NaN," + DEEP, "expected JSON"),
    "deep data": raw(
        body(vector(data=[])).replace(b"[]", b"[" * 900 + b"]" * 900), "at most 100 deep"
    ),
    "no inputs": raw(b"{}", "'inputs': expected a list of objects, got nothing"),
    "empty inputs": raw(body(), "missing x"),
    "inputs not objects": raw(b'{"inputs": [1]}', "list of objects, got a number"),
    "id not a string": raw(body(vector(), id=1), "'id': expected a string, got a number"),
    "too large": raw(b" " * (2**20 + 1), "expected at most 1048576 bytes, got 1048577", 413),
    # binary tensors
    "truncated binary": binary(24, b"\0" * 23, "expected 24 bytes of binary data, got 23"),
    "superfluous binary": binary(24, b"\0" * 25, "no bytes after the last tensor, got 1"),
    "wrong binary size": binary(16, b"\0" * 16, "expected 24 bytes for FP64 [1, 3], got 16"),
    "negative binary size": binary(-1, b"", "as 'binary_data_size', got a number"),
    "binary size a string": binary("24", b"\0" * 24, "as 'binary_data_size', got a string"),
    "binary size a boolean": binary(True, b"\0", "as 'binary_data_size', got a boolean"),
    "binary without header": raw(
        body(vector(data=..., parameters={"binary_data_size": 24})), "got 0; the header"
    ),
    "header beyond the body": header("9999", "expected a number of bytes from 0 to"),
    "header negative": header("-1", "got '-1'"),
    "header not a number": header("ten", "got 'ten'"),
    "header long": header("9" * 5000, "9…'"),
    "header too short": header("5", "expected JSON"),
    "raw of wrong size": header("0", "expected 24 bytes for FP64 [1, 3], got"),
    "raw for two inputs": header("0", "models with one input", "/v2/models/sum/infer"),
    "BOOL of 2": (
        "/v2/models/same_bool/infer",
        b"\0\1\2",
        {LENGTH: "0"},
        400,
        "expected bytes of 0 or 1",
    ),
    # outputs
    "unknown output": outputs([{"name": "z"}], "output: expected one of y; got 'z'"),
    "duplicate output": outputs([{"name": "y"}] * 2, "output 'y': expected once"),
    "outputs not a list": outputs("y", "'outputs': expected a list of objects, got a string"),
    "classification": outputs(
        [{"name": "y", "parameters": {"classification": -2}}],
        "expected an integer of 0 or more as 'classification', got -2",
    ),
    "output in shared memory": outputs(
        [{"name": "y", "parameters": {"shared_memory_region": "r"}}], "not supported"
    ),
    "binary_data not boolean": outputs(
        [{"name": "y", "parameters": {"binary_data": 1}}], "expected a boolean as 'binary_data'"
    ),
    "binary_data_output": raw(
        body(vector(), parameters={"binary_data_output": "yes"}), "as 'binary_data_output'"
    ),
    # names
    "unknown model": raw(body(vector()), "got 'nope'", 404, "/v2/models/nope/infer"),
    "long model": raw(b"", "y…'", 404, f"/v2/models/{LONG}/infer"),
    "strange model": raw(b"", "got '..é", 404, "/v2/models/..%C3%A9%00/infer"),
    "model with a slash": raw(b"", "Not Found", 404, "/v2/models/a%2Fb/infer"),
    "unknown version": raw(b"", "of the versions 1; got '7'", 404, f"{MODEL}/versions/7/infer"),
    "version not a number": raw(b"", "got 'x'", 404, f"{MODEL}/versions/x/infer"),
    "model that failed to load": raw(
        b"", "model 'broken' version 1: model.onnx: expected", 503, "/v2/models/broken/infer"
    ),
    "no such route": raw(b"", "Not Found", 404, "/v3"),
    "trailing slash": raw(b"", "Not Found", 404, SAME + "/"),
    "method": raw(b"", "Method Not Allowed", 405, "/v2/models/tiny"),
    # predict
    "empty picture": picture(b"", 400, "got an empty body"),
    "no body, no type": raw(b"", "got an empty body", path=PREDICT),
    "no picture": picture(b"hello", 400, "expected one of PNG"),
    "truncated picture": picture(PICTURE[:900], 400, "a damaged one"),
    "100 megapixels": picture(big_png(10_000, 10_000), 413, "pixels"),
    "2 megapixels": picture(big_png(2000, 1000), 413, "at most 1 megapixels"),
    "too large picture": picture(b"\0" * (2**20 + 1), 413, "at most 1048576 bytes"),
    "text": picture(b"hello", 415, "got 'text/plain'", "text/plain"),
    "bytes": picture(b"hello", 415, "application/octet-stream", "application/octet-stream"),
    "picture for a model of rows": raw(
        PICTURE, "no preprocessing", 415, "/v2/models/same_fp64/predict"
    ),
    "form without file": (PREDICT, FORM % (b"file", b""), MULTIPART, 400, "form field 'file'"),
    "form with another file": (
        PREDICT,
        FORM % (b"picture", b'; filename="x.png"'),
        MULTIPART,
        400,
        "form field 'file'",
    ),
    "form without boundary": (
        PREDICT,
        b"x",
        {"content-type": "multipart/form-data"},
        400,
        "multipart/form-data with 1 to 256 files",
    ),
    "damaged form": (PREDICT, b"junk", MULTIPART, 400, "multipart/form-data with 1 to 256 files"),
    "large form": (
        PREDICT,
        FORM.replace(b"x\r", b"x" * (2**20) + b"\r") % (b"file", b'; filename="x.png"'),
        MULTIPART,
        413,
        "at most 1048576 bytes",
    ),
    "rows not JSON": rows(b"{", "expected JSON"),
    "no instances": rows(b"{}", "a list 'instances' of rows, got an object"),
    "instances a list": rows(b"[]", "a list 'instances' of rows, got a list"),
    "no rows": rows(b'{"instances": []}', "got an empty list"),
    "row of wrong shape": rows(
        b'{"instances": [[1, 2]]}', "expected shape [-1, 3, 8, 8], got [1, 2]"
    ),
    "row of nothing": rows(b'{"instances": [[[]]]}', "expected shape [-1, 3, 8, 8]"),
    "ragged rows": rows(
        b'{"instances": [[1, 2, 3], [1, 2]]}', "dimension 1; got 2", "/v2/models/same_fp64/predict"
    ),
    "row without an input": rows(
        b'{"instances": [{"a": [1, 2, 3]}]}', "object with input 'b'", "/v2/models/sum/predict"
    ),
    # repository
    "index not JSON": raw(b"x", "expected JSON", path="/v2/repository/index"),
    "index a list": raw(b"[]", "expected an object", path="/v2/repository/index"),
    "index not boolean": raw(
        b'{"ready": 1}', "expected a boolean as 'ready', got a number", path="/v2/repository/index"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_is_refused_in_one_sentence(client: httpx.Client, name: str) -> None:
    path, content, headers, status, words = CASES[name]
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert words in sentence
    assert len(sentence) < 600
    assert "\n" not in sentence
    assert answer.headers["content-type"] == "application/json"
    healthy = client.post(SAME, content=body(vector()))
    assert healthy.json()["outputs"][0]["data"] == [1, 2, 3]
