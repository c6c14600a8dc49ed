"""The log: the protocol's settings take effect, ids join answers and events, JSON when asked."""

import json
import logging
from typing import Any

import httpx
import pytest

from service import logs
from service.app import create_app
from service.settings import Settings
from tests.servers import serving, start
from tests.service.bundles import write_bundle


@pytest.fixture
def own(tmp_path: Any) -> Any:
    """A service with a log of its own, and the log."""
    before = logging.getLogger().handlers[:], logging.getLogger().level
    log = logs.install("text", "warning")
    with serving(create_app(Settings(models=tmp_path), log=log)) as client:
        yield client, log
    logging.getLogger().handlers[:] = before[0]
    logging.getLogger().setLevel(before[1])


def test_settings_follow_the_level_of_the_start(own: tuple[httpx.Client, logs.Log]) -> None:
    client, _ = own
    assert client.get("/v2/logging").json() == {
        "log_file": "",
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }


def test_what_is_changed_takes_effect(
    own: tuple[httpx.Client, logs.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    client, log = own
    log.setStream(__import__("sys").stderr)
    logger = logging.getLogger("service.test")

    def logged() -> list[str]:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "level %d", level)
        return [line[-2:] for line in capsys.readouterr().err.splitlines() if "level" in line]

    assert logged() == ["30", "40"]
    changes = {"log_info": True, "log_warning": False, "log_verbose_level": 1}
    answer = client.post("/v2/logging", json=changes)
    assert answer.json() == client.get("/v2/logging").json()
    assert {name: answer.json()[name] for name in changes} == changes
    assert logged() == ["10", "20", "40"]
    client.post("/v2/logging", json={"log_error": False, "log_format": "ISO8601"})
    assert logged() == ["10", "20"]
    logger.info("moment")
    assert "T" in capsys.readouterr().err.split()[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"log_info": 1}, "'log_info': expected a boolean, got 1"),
        ({"log_verbose_level": -1}, "an integer of 0 or more, got -1"),
        ({"log_verbose_level": True}, "an integer of 0 or more"),
        ({"log_format": "json"}, "expected one of default, ISO8601, got json"),
        ({"log_file": "/tmp/x"}, "goes to standard error"),
        ({"colour": True}, "expected settings of log_info, log_warning"),
        ([], "expected an object"),
    ],
)
def test_unusable_changes_change_nothing(
    own: tuple[httpx.Client, logs.Log], change: Any, words: str
) -> None:
    client, _ = own
    before = client.get("/v2/logging").json()
    answer = client.post("/v2/logging", json=change)
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
    assert client.get("/v2/logging").json() == before


def test_json_lines_with_the_id_of_the_request(tmp_path: Any) -> None:
    write_bundle(tmp_path)
    server = start(
        "--models", str(tmp_path), FOLDSERVE_LOG_FORMAT="json", FOLDSERVE_ACCESS_LOG="true"
    )
    address = f"http://{server.address}/v2/models/tiny"
    httpx.get(address, headers={"x-request-id": "seven"})
    httpx.get(f"{address}\n".replace("\n", "%0A"))
    _, errors = server.stop()
    lines = [line for line in errors.splitlines() if not line.startswith("foldserve: ")]
    events = [json.loads(line) for line in lines]
    (named,) = [event for event in events if event.get("request_id") == "seven"]
    assert (named["method"], named["path"], named["status"]) == ("GET", "/v2/models/tiny", 200)
    assert named["duration_ms"] > 0
    assert named["logger"] == "service.access"
    assert any(event.get("path") == "/v2/models/tiny\n" for event in events)


def test_access_log_in_text_stays_on_one_line(tmp_path: Any) -> None:
    server = start("--models", str(tmp_path), FOLDSERVE_ACCESS_LOG="1")
    httpx.get(f"http://{server.address}/a%0Ab")
    _, errors = server.stop()
    (line,) = [line for line in errors.splitlines() if "404" in line]
    assert "'/a\\nb' 404" in line
    assert "[request id: " in line
