"""The benchmark's tables, as Markdown, and the rows in which foldserve is behind."""

import json
from collections.abc import Callable, Mapping

from folding_judge import NO_FILE, Result

Rows = list[tuple[str, list[Result]]]
FASTER = 0.9  # a latency below this share of ours is no chance


def read_lines(said: str, marks: dict[int, str]) -> int:
    """Takes a tool's lines in: its failures into `marks`; the last file that it began, or -1."""
    last = -1
    for line in said.splitlines():
        try:
            words = json.loads(line)
        except ValueError:
            continue  # the tool's own words
        if not isinstance(words, dict):
            continue
        if "missing" in words:
            marks[-1] = "not installed"
        if "failed" in words:
            marks[words["failed"]] = "fails"
        last = words.get("begins", last)
    return last


def add_marks(rows: Rows, marks: Mapping[str, Mapping[int, str]]) -> None:
    """Says why there is no file."""
    for index, (_, results) in enumerate(rows):
        for result in results:
            found = marks.get(result.tool, {})
            if result.mark in (NO_FILE, "invalid"):
                result.mark = found.get(-1) or found.get(index) or result.mark


def print_all(rows: Rows, ours: str, unfolded: str) -> None:
    """The tables, the sums, and what foldserve is behind in."""
    _print("Normalization layers left / nodes", rows, lambda r: f"{r.layers} / {r.nodes}")
    _print("Largest relative error against float64", rows, lambda r: f"{r.error:.1e}")
    if any(result.milliseconds for _, results in rows for result in results):
        _print("Latency in ONNX Runtime afterwards, in ms", rows, _latency)
    _print_sums(rows)
    behind = [line for name, results in rows for line in _behind(name, results, ours, unfolded)]
    print(f"### Rows in which {ours} is behind a right answer\n")
    print("\n".join(f"- {line}" for line in behind) or "None.")


def _latency(result: Result) -> str:
    return "–" if result.milliseconds is None else f"{result.milliseconds:.3f}"


def _print(title: str, rows: Rows, cell: Callable[[Result], str]) -> None:
    tools = [result.tool for result in rows[0][1]]
    print(f"### {title}\n")
    print(f"| graph | {' | '.join(tools)} |")
    print("|---" * (len(tools) + 1) + "|")
    for name, results in rows:
        cells = [
            f"{cell(r)} **{r.mark}**" if r.mark == "WRONG" else r.mark or cell(r) for r in results
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def _print_sums(rows: Rows) -> None:
    print("### Sums\n")
    print("| tool | layers left in right answers | wrong | invalid | fails or crashes |")
    print("|---|---|---|---|---|")
    for column, first in enumerate(rows[0][1]):
        results = [results[column] for _, results in rows]
        left = sum(result.layers for result in results if not result.mark)
        marks = [result.mark for result in results]
        broken = marks.count("fails") + marks.count("crash") + marks.count("no file")
        counts = (left, marks.count("WRONG"), marks.count("invalid"), broken)
        missing = marks.count("not installed") == len(marks)
        print(f"| {first.tool} | {'not installed' if missing else ' | '.join(map(str, counts))} |")
    print()


def _behind(name: str, results: list[Result], ours: str, unfolded: str) -> list[str]:
    """Nodes are compared with tools that keep to ONNX's own operators: ONNX Runtime's levels above
    basic make fused ones of its own, which they would make of ours too."""
    own = next(result for result in results if result.tool == ours)
    if own.mark:
        return [f"{name}: {own.mark}"]
    right = [r for r in results if not r.mark and r.tool != ours]
    lines: list[str] = []
    for result in right:
        words = f"{name}: {result.tool} "
        if result.layers < own.layers:
            lines.append(words + f"leaves {result.layers} layers, {ours} {own.layers}")
        fused = result.tool in ("ORT extended", "ORT all", unfolded)
        if not fused and result.layers == own.layers and result.nodes < own.nodes:
            lines.append(words + f"has {result.nodes} nodes, {ours} {own.nodes}")
        if result.milliseconds and own.milliseconds:
            share = result.milliseconds / own.milliseconds
            if share < FASTER:
                lines.append(words + f"takes {share:.2f} of the time")
    return lines
