"""Figures of a training, followed live: always as JSON lines, and for TensorBoard if asked for.

A line is `{"step": …, "<metric>": …}`, flushed as it is written. Going on after an interruption
drops what was written beyond the state that the work goes on from.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from training.files import write_bytes


class MetricsWriter:
    """Writes the metrics of one training to `file`, and as scalars to the folder `tensorboard`."""

    def __init__(self, file: Path, tensorboard: Path | None = None, *, after_step: int = 0) -> None:
        """Keeps the lines of steps up to `after_step`; 0 begins anew."""
        write_bytes(file, _lines_until(file, after_step) if after_step else b"")
        self._file = file.open("a", encoding="utf-8")
        self._board = None
        if tensorboard is not None:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(tensorboard), purge_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The values at a step; what is not finite is null in JSON, and left out of TensorBoard."""
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if math.isfinite(value):
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _lines_until(file: Path, step: int) -> bytes:
    """The whole lines of `file` up to a step; a line that was cut short by a crash is dropped."""
    kept = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] > step:
            break
        kept.append(line + "\n")
    return "".join(kept).encode()
