"""Bodies and answers compressed, both ways; and compression that is damaged or a bomb."""

import gzip
import zlib
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.requests import body, vector, with_binary

SAME = "/v2/models/same_fp64/infer"


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_requests_may_be_compressed(client: httpx.Client, encoding: str, pack: Any) -> None:
    head = body(vector(data=..., parameters={"binary_data_size": 24}))
    content, headers = with_binary(head, np.arange(3.0).tobytes())
    headers["content-encoding"] = encoding  # the length of the JSON is that before compression
    answer = client.post(SAME, content=pack(content), headers=headers)
    assert answer.json()["outputs"][0]["data"] == [0, 1, 2]


def test_gzip_of_several_members(client: httpx.Client) -> None:
    content = body(vector())
    parts = gzip.compress(content[:10]) + gzip.compress(content[10:])
    answer = client.post(SAME, content=parts, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "encoding", "status", "words"),
    [
        (
            gzip.compress(bytes(2**21), mtime=0),
            "gzip",
            413,
            "expected at most 1048576 bytes, got more",
        ),
        (zlib.compress(bytes(2**30), 9), "deflate", 413, "expected at most 1048576 bytes"),
        (gzip.compress(body(vector()), mtime=0)[:-9], "gzip", 400, "got a truncated one"),
        (body(vector()), "gzip", 400, "expected gzip, got"),
        (gzip.compress(body(vector()), mtime=0) + b"junk", "gzip", 400, "expected gzip, got"),
        (b"", "gzip", 400, "truncated"),
        (body(vector()), "br", 415, "expected gzip or deflate, got 'br'"),
        (body(vector()), "gzip, gzip", 415, "got 'gzip, gzip'"),
    ],
)
def test_bad_compression_is_refused(
    client: httpx.Client, content: bytes, encoding: str, status: int, words: str
) -> None:
    answer = client.post(SAME, content=content, headers={"content-encoding": encoding})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *;q=0.1", "deflate"),
        ("gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("br", None),
        ("", None),
        ("gzip;q=x", None),
    ],
)
def test_large_answers_are_compressed_as_the_client_likes(
    client: httpx.Client, accepted: str, encoding: str | None
) -> None:
    sent = {"name": "x", "datatype": "FP32", "shape": [100, 5], "data": [1.0] * 500}
    plain = client.post(
        "/v2/models/logarithm/infer", content=body(sent), headers={"accept-encoding": "identity"}
    )
    with client.stream(
        "POST",
        "/v2/models/logarithm/infer",
        content=body(sent),
        headers={"accept-encoding": accepted},
    ) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    unpacked = zlib.decompress(raw, 47) if encoding else raw  # either header
    assert unpacked == plain.content


def test_only_answers_of_infer_are_compressed(client: httpx.Client) -> None:
    for path in ("/v2/models/tiny/normalization", "/v2/models/nope", "/openapi.json"):
        answer = client.get(path, headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in answer.headers


# schedule policy
