"""Faults of our own: answered in the one form, logged once, with an id that joins the two."""

import logging
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.errors import STATUS
from service.app import create_app
from service.errors import FoldserveError, QueueFull
from service.settings import Settings
from tests.servers import serving


def test_every_exception_has_a_status() -> None:
    def below(kind: type[FoldserveError]) -> set[type[FoldserveError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    unlisted = {kind.__name__ for kind in below(FoldserveError) if kind not in STATUS}
    assert unlisted == {"BadBundle"}  # met while loading, never by a request; 500 if it were


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    """In whole seconds, as RFC 9110 (10.2.3) has it, rounded up."""
    app = create_app(Settings(models=tmp_path))

    async def full(_: Request) -> Response:
        raise QueueFull("model 'm': expected at most 8 waiting rows", retry_after_s=1.2)

    app.routes.append(Route("/full", full))
    with serving(app) as client:
        answer = client.get("/full")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert answer.json() == {"error": "model 'm': expected at most 8 waiting rows"}


def test_what_nobody_expected_is_an_internal_error_with_an_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(models=tmp_path))

    async def fault(_: Request) -> Response:
        raise RuntimeError("/secret/path")

    app.routes.append(Route("/fault", fault))
    with serving(app) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/fault")
        alive = client.get("/v2/health/live")
    sentence = answer.json()["error"]
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert "secret" not in sentence
    assert answer.headers["content-type"] == "application/json"
    (record,) = [r for r in caplog.records if r.exc_info]
    assert sentence.rpartition(" ")[2] in record.getMessage()
    assert alive.status_code == 200
