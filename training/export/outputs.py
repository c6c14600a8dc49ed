"""What the outputs of a network are called in the graph."""

import re
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from training.errors import UnusableInput
from training.graph import unique


def output_names(answer: Any) -> list[str]:
    """A name for each tensor of the answer: the keys and attributes that lead to it.

    A single output without a key is `output`; others without are `output_0`, `output_1`, …
    Raises UnusableInput where there is no tensor.
    """
    found = [
        path for path, leaf in pytree.tree_flatten_with_path(answer)[0] if isinstance(leaf, Tensor)
    ]
    if not found:
        raise UnusableInput(f"expected tensors as the answer, got {type(answer).__name__}")
    words = ["_".join(re.findall(r"\w+", pytree.keystr(path))) for path in found]
    named = [f"output_{word}" if word[:1].isdigit() else word or "output" for word in words]
    return [name.replace("#", "_") for name in unique(named)]
