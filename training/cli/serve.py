"""`foldserve serve`: the HTTP service."""

from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[Path | None, typer.Option(help="Folder of bundles, NAME/VERSION/.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.")]
Workers = Annotated[int | None, typer.Option(help="Number of processes.")]


def serve(
    models: Models = None, host: Host = None, port: Port = None, workers: Workers = None
) -> None:
    """Serves a folder of bundles over HTTP.

    What is not given comes from FOLDSERVE_MODELS, FOLDSERVE_HOST, … or is the default.

    Example: `foldserve serve --models models --port 8000`
    """
    from service.__main__ import main

    given = {"--models": models, "--host": host, "--port": port, "--workers": workers}
    status = main([f"{flag}={value}" for flag, value in given.items() if value is not None])
    raise typer.Exit(status)
