"""The short way of inference answers what the documented route does, to the letter.

A request with an `Origin` takes the documented route; without one, the short way.
"""

import json
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.api.requests import LENGTH, body, vector, with_binary

LONG = {"note": "x" * 600}  # from 512 bytes on, numbers go straight into memory
SAME = "/v2/models/same_fp64/infer"
ORIGIN = {"Origin": "http://example.org"}


def both(
    client: httpx.Client, content: bytes, headers: dict[str, str] | None = None, path: str = SAME
) -> httpx.Response:
    """The answer of the short way, after it was found equal to the other."""
    sent = {"X-Request-ID": "one", **(headers or {})}
    short = client.post(path, content=content, headers=sent)
    long = client.post(path, content=content, headers={**sent, **ORIGIN})
    assert (short.status_code, short.content) == (long.status_code, long.content)
    names = ("content-type", "content-length", "x-request-id", "x-content-type-options", LENGTH)
    assert [short.headers.get(n) for n in names] == [long.headers.get(n) for n in names]
    return short


numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
anything = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=3), st.just([1]))


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(st.lists(numbers, max_size=7), st.lists(anything, max_size=7)),
    shape=st.sampled_from([[1, 3], [2, 3], [1, 4], [0, 3]]),
    datatype=st.sampled_from(["FP64", "FP32", "INT64", "FP16", "UINT8"]),
)
def test_any_list_is_answered_alike(
    client: httpx.Client, data: list[Any], shape: list[int], datatype: str
) -> None:
    entry = vector(data=data, shape=shape, datatype=datatype)
    path = f"/v2/models/same_{datatype.lower()}/infer"
    both(client, body(entry, parameters=LONG), path=path)


@pytest.mark.parametrize(
    "content",
    [
        body(vector(data=[[1, 2, 3]]), parameters=LONG),
        body(vector(data=[[1, 2], [3]]), parameters=LONG),
        body(vector(data=[1, [2, 3]]), parameters=LONG),
        body(vector(data=...), parameters=LONG),
        body(vector(data="1,2,3"), parameters=LONG),
        body(vector(shape=...), parameters=LONG),
        body(vector(), vector(), parameters=LONG),
        body(5, parameters=LONG),
        body(vector(), parameters=LONG, id="seven", outputs=[{"name": "y"}]),
        body(vector(), parameters=LONG, id=7),
        json.dumps([LONG]).encode(),
        json.dumps({"inputs": {"x": [1]}, **LONG}).encode(),
        body(vector(), parameters=LONG).replace(b'"data"', b'"data": [4, 5, 6], "data"'),
        body(vector(), parameters=LONG).replace(b"1, 2, 3", b"1, 1e400, 3"),
        body(vector(), parameters=LONG).replace(b"1, 2, 3", b"1, NaN, 3"),
        body(vector(), parameters=LONG)[:-1],
        body(vector(), parameters={"note": "[" * 600}),
    ],
)
def test_any_form_is_answered_alike(client: httpx.Client, content: bytes) -> None:
    for _ in range(2):  # what one request leaves behind harms no other
        both(client, content)
    assert both(client, body(vector(), parameters=LONG)).json()["outputs"][0]["data"] == [1, 2, 3]


def wide(content: bytes) -> bytes:
    """The same with a list so long that what surrounds it is kept."""
    return content.replace(b'"data": [', b'"data": [' + b" " * 600)


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(st.lists(numbers, min_size=3, max_size=3), st.lists(anything, max_size=7)),
    datatype=st.sampled_from(["FP64", "FP32", "FP16", "INT64"]),
)
def test_any_list_in_a_known_frame_is_answered_alike(
    client: httpx.Client, data: list[Any], datatype: str
) -> None:
    path = f"/v2/models/same_{datatype.lower()}/infer"
    known, content = (wide(body(vector(data=d, datatype=datatype))) for d in ([1, 2, 3], data))
    assert both(client, known, path=path).status_code == 200
    both(client, content, path=path)


@pytest.mark.parametrize("row", ["[4, 5, 6]", "[[4, 5, 6]]", "[4, [5], 6]", '["]", 5, 6]', "[4] "])
@pytest.mark.parametrize(
    "around",
    [
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}]}',
        '{"parameters": {"data": [1, 2, 3]}, "inputs": '
        '[{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}]}',
        '{"parameters": {"data": %s}, "inputs": '
        '[{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]}',
        '{"inputs": [{"data": %s, "name": "x", "datatype": "FP64", "shape": [1, 3]}]}',
        '{"inputs": [{"data": %s, "name": "x", "datatype": "FP64", "shape": [1, 3], '
        '"data": [1, 2, 3]}]}',
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}], "id": "a"}',
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}], '
        '"outputs": [{"name": "y"}], "parameters": {"timeout": 5000000}}',
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}]}]',
        '{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "data": %s}]',
    ],
)
def test_a_frame_is_what_it_says(client: httpx.Client, around: str, row: str) -> None:
    for sent in ("[1, 2, 3]", "[7, 8, 9]", row, "[1, 2, 3]"):
        both(client, wide((around % sent).encode()))


def head(**fields: Any) -> bytes:
    """Of a request with one binary row of three doubles."""
    return body(vector(data=..., parameters={"binary_data_size": 24}), **fields)


def test_a_head_that_was_valid_before_gives_each_its_own_answer(client: httpx.Client) -> None:
    for row in np.random.default_rng(0).standard_normal((20, 3)):
        content, headers = with_binary(head(), row.tobytes())
        assert both(client, content, headers).json()["outputs"][0]["data"] == row.tolist()


def test_a_known_head_excuses_nothing_in_the_tensors(client: httpx.Client) -> None:
    right = np.arange(3.0).tobytes()
    for _ in range(2):
        for sent in (right, right[:-1], right + b"x", b"", np.full(3, np.nan).tobytes()):
            content, headers = with_binary(head(), sent)
            assert both(client, content, headers).status_code == (200 if sent == right else 400)
    content, _ = with_binary(head(), right)
    for length in (str(len(head()) - 1), "-5", "99999", "0", "x", f"0{len(head())}"):
        both(client, content, {LENGTH: length})


def test_an_id_is_never_taken_from_another_request(client: httpx.Client) -> None:
    for number in range(3):
        content, headers = with_binary(head(id=f"n{number}"), np.arange(3.0).tobytes())
        assert both(client, content, headers).json()["id"] == f"n{number}"


def test_many_heads_are_not_kept_for_ever(client: httpx.Client) -> None:
    for number in range(200):
        content, headers = with_binary(
            head(parameters={"note": str(number)}), np.arange(3.0).tobytes()
        )
        assert both(client, content, headers).status_code == 200
