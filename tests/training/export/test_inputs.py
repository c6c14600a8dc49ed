"""The words of `--input`."""

import pytest
import torch

from training.errors import UnusableInput
from training.export.inputs import Input, parse_inputs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x224x224", Input((1, 3, 224, 224))),
        ("8x3", Input((8, 3))),
        ("image:1x3", Input((1, 3), name="image")),
        ("f16:1x3", Input((1, 3), dtype=torch.float16)),
        ("ids:int64:1x3", Input((1, 3), dtype=torch.int64, name="ids")),
        ("1x3x*x96?", Input((1, 3, 64, 96), frozenset({0, 2, 3}))),
        ("*x3", Input((64, 3))),
    ],
)
def test_name_type_and_sizes_are_read(text: str, expected: Input) -> None:
    assert parse_inputs([text]) == (expected,)


@pytest.mark.parametrize(
    "text",
    ["", "1x3xab", "1x-3", "1,3,4", "f32:f32x:1x3", "a:b:1x3", "1x", "x", "a b:1x3", "1.5x2"],
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UnusableInput, match=r"expected \[NAME:\]\[TYPE:\]SIZES"):
        parse_inputs([text])


@pytest.mark.parametrize("text", ["0x3", "100000x100000"])
def test_too_few_and_too_many_values_are_refused(text: str) -> None:
    with pytest.raises(UnusableInput, match="expected 1 to 268,435,456 values, got"):
        parse_inputs([text])


def test_drawn_tensors_have_type_and_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    floats, integers = parse_inputs(["1x3", "i64:1x50"])
    assert floats.draw(5, generator).shape == (5, 3)
    assert set(integers.draw(2, generator).flatten().tolist()) == {0, 1}
