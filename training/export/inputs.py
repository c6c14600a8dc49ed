"""What a network takes: `--input image:f32:1x3x224x224`, and tensors drawn for it.

The first size is the batch and free, unless it is said to be fixed; `*` is any size, and `64*` any
size of which 64 is one that the network takes.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from training.errors import UnusableInput

DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f64": torch.float64,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}
_NAMES = DTYPES | {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
_SIZE = re.compile(r"(\d*)([*?]?)")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
FREE_SIZE = 64  # for `*`: enough for six halvings
EXAMPLE_ROWS, CHECKED_ROWS = 2, 3  # a batch of 1 would be taken for a constant
MOST_VALUES = 2**28


@dataclass(frozen=True, slots=True)
class Input:
    """One input: the sizes of an example, which of them are free, its type; '' for no name yet."""

    sizes: tuple[int, ...]
    free: frozenset[int] = frozenset({0})
    dtype: torch.dtype = torch.float32
    name: str = ""

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """A tensor of the input's type, with `rows` in a free first dimension.

        Normal numbers; any byte for unsigned bytes; else 0 or 1, an index that every table has.
        """
        sizes = (rows, *self.sizes[1:]) if 0 in self.free else self.sizes
        if self.dtype.is_floating_point:
            return torch.randn(sizes, generator=generator).to(self.dtype)
        top = 256 if self.dtype == torch.uint8 else 2
        return torch.randint(top, sizes, generator=generator).to(self.dtype)

    def free_names(self) -> dict[int, str]:
        """Names of the free dimensions, by index."""
        stem = self.name or "input"
        return {i: f"{stem}_dim_{i}" if i else "batch" for i in sorted(self.free)}


def parse_inputs(texts: Sequence[str], *, fixed_batch: bool = False) -> tuple[Input, ...]:
    """The inputs that `--input` describes; UnusableInput says what is wrong with one."""
    return tuple(_parse(text, fixed_batch=fixed_batch) for text in texts)


def _parse(text: str, *, fixed_batch: bool) -> Input:
    *words, shape = text.split(":")
    name, dtype = "", torch.float32
    if words and words[-1] in _NAMES:
        dtype = _NAMES[words.pop()]
    if words and _NAME.fullmatch(words[0]):
        name = words.pop(0)
    sizes = [_SIZE.fullmatch(size) for size in shape.split("x")]
    found = [match for match in sizes if match is not None and match[0]]
    if words or len(found) != len(sizes):
        raise UnusableInput(
            f"--input {text}: expected [NAME:][TYPE:]SIZES with a type of {', '.join(DTYPES)}, "
            "and sizes such as 1x3x224x224 (* for any size)"
        )
    lengths = tuple(int(match[1] or FREE_SIZE) for match in found)
    if not 0 < prod(lengths) <= MOST_VALUES:
        raise UnusableInput(
            f"--input {text}: expected 1 to {MOST_VALUES:,} values, got {prod(lengths):,}"
        )
    free = {index for index, match in enumerate(found) if match[2]}
    return Input(lengths, frozenset(free if fixed_batch else free | {0}), dtype, name)


def named(network: nn.Module, inputs: Sequence[Input]) -> tuple[Input, ...]:
    """The inputs with the names of `forward`'s parameters where they have none of their own."""
    given = [p.name for p in _parameters(network)]
    spare = [f"input_{index}" for index in range(len(given), len(inputs))]
    pairs = zip(inputs, [*given, *spare], strict=False)
    result = tuple(replace(item, name=item.name or name) for item, name in pairs)
    names = [item.name for item in result]
    if len(set(names)) != len(names):
        raise UnusableInput(f"expected inputs of different names, got {', '.join(names)}")
    return result


def by_keyword(network: nn.Module, inputs: Sequence[Input]) -> bool:
    """Whether the names are parameters of `forward`, but not the first ones in order."""
    known = [p.name for p in _parameters(network)]
    names = [item.name for item in inputs]
    return names != known[: len(names)] and set(names) <= set(known)


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p for p in parameters if p.kind in kinds]
