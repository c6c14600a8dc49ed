"""Arguments in, one sentence on standard error and an exit status out."""

import sys
from collections.abc import Sequence


def parse(argv: Sequence[str] | None) -> dict[str, str]:
    """The flags by name; None for those that were not given. Exits with 2 on others."""
    import argparse  # after the signals are in hand

    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serves the bundles of a folder. Flags win over FOLDSERVE_* variables.",
        epilog="example: python -m service --models models --port 8000",
    )
    parser.add_argument("--models", metavar="DIR", help="folder of bundles (models)")
    parser.add_argument("--host", metavar="H", help="address to bind (127.0.0.1)")
    parser.add_argument("--port", metavar="P", help="port to bind, 0 for any free one (8000)")
    parser.add_argument("--workers", metavar="N", help="processes that share the port (1)")
    parser.add_argument(
        "--check", action="store_true", help="ask the service on this machine if it is ready"
    )
    return vars(parser.parse_args(argv))


def complain(sentence: str, status: int) -> int:
    """Says what is wrong; `status` comes back."""
    say(sentence)
    return status


def say(sentence: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"foldserve: {sentence}\n")
