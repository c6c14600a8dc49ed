"""What a fold did, as data, as JSON and as a table. Knows nothing of graphs."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from training.fold.equivalence import Equivalence


@dataclass(frozen=True)
class LayerFold:
    """One normalization layer of the original network, and where it went.

    Either `rule` and `folded_into` are given, or `refusal` is. `output` is the tensor of the
    folded network that equals the layer's output; None where it is computed no longer. `gain` is
    the range of |multiplier|; it and `channels` are None where they cannot be read.
    """

    name: str
    node: str
    operator: str
    channels: int | None
    epsilon: float
    rule: str | None
    folded_into: str | None
    refusal: str | None
    output: str | None
    gain_min: float | None
    gain_max: float | None
    findings: tuple[str, ...]


@dataclass(frozen=True)
class BranchMerge:
    """Parallel branches that meet at the node `join`: merged into the convolution `into`, or the
    refusal. `layers` are the normalization layers that went along, or would have."""

    join: str
    into: str | None
    branches: tuple[str, ...]
    layers: tuple[str, ...]
    refusal: str | None


@dataclass(frozen=True)
class FoldReport:
    """Every normalization layer in network order, and the network before and after."""

    layers: tuple[LayerFold, ...]
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    seconds: float
    equivalence: Equivalence | None = None
    merges: tuple[BranchMerge, ...] = ()

    @property
    def folded(self) -> int:
        """How many layers went into a neighbour."""
        return sum(layer.rule is not None for layer in self.layers)

    def with_equivalence(self, equivalence: Equivalence) -> "FoldReport":
        """The same report with the proof in it."""
        return replace(self, equivalence=equivalence)

    def to_json(self) -> dict[str, Any]:
        """JSON's own types only; a number that JSON has not (an infinite error) is null."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain | {"folded": self.folded}

    def summary(self) -> str:
        """One line: layers, nodes, bytes, and the proof where there is one."""
        joins = sum(merge.into is not None for merge in self.merges)
        merged = f"parallel branches merged: {joins}; " if joins else ""
        words = (
            f"{self.folded} of {len(self.layers)} normalization layers folded; {merged}"
            f"{self.nodes_before} → {self.nodes_after} nodes, "
            f"{self.bytes_before:,} → {self.bytes_after:,} bytes, {self.seconds:.2f} s"
        )
        return words if self.equivalence is None else f"{words}\n{self.equivalence.summary()}"

    def table(self) -> Table:
        """A row for each layer, for a terminal."""
        table = Table(caption=self.summary(), caption_justify="left")
        for column in ("layer", "channels", "gain", "where it went"):
            table.add_column(column, justify="right" if column == "channels" else "left")
        for layer in self.layers:
            went = f"{layer.folded_into} ({layer.rule})" if layer.rule else f"left: {layer.refusal}"
            # Names such as "f[0]" are no markup.
            cells = (layer.name, str(layer.channels or "?"), _gain(layer))
            table.add_row(*map(escape, (*cells, "\n".join((went, *layer.findings)))))
        return table


def _gain(layer: LayerFold) -> str:
    if layer.gain_min is None or layer.gain_max is None:
        return "?"
    return f"{layer.gain_min:.3g} … {layer.gain_max:.3g}"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
