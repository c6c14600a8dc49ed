"""Keys: deny by default over every route, administration closed unless opened, and no leaks."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.guard import PROBES, Guard, digests, is_open
from service.api.routes import ROUTERS
from service.app import create_app
from service.settings import BadSettings, Settings
from tests.servers import serving
from tests.service.bundles import write_bundle

API, ADMIN = "api-key-one", "admin-key-one"
FOREIGN = {"origin": "http://evil.example"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with keys of both kinds, one of them from a file."""
    folder = tmp_path_factory.mktemp("locked")
    write_bundle(folder / "models")
    (folder / "keys").write_text(f"{ADMIN}\nadmin-key-two\n")
    settings = Settings(
        models=folder / "models",
        threads=1,
        api_keys=f"{API},api-key-two",
        admin_keys_file=folder / "keys",
    )
    with serving(create_app(settings)) as client:
        yield client


def paths() -> list[tuple[str, str]]:
    """Method and path of every route there is, documentation and unknown ones included."""
    found = [
        (entry.method, entry.template.format_map(_Names()))
        for router in ROUTERS
        for entry in router.entries
    ]
    more = ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/nowhere", "/v2/"]
    return [*found, *(("GET", path) for path in more)]


class _Names(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return {"model_name": "tiny", "model_version": "1"}.get(key, "x")


def is_admin(path: str) -> bool:
    """Whether it changes what is served, or tells what others have sent."""
    return path.endswith(("/load", "/unload", "/drift/reset", "/recording", "/recording/reset"))


@pytest.mark.parametrize(("method", "path"), paths())
def test_every_route_but_health_asks_for_a_key(
    locked: httpx.Client, method: str, path: str
) -> None:
    answer = locked.request(method, path)
    if path in (*PROBES, "/"):  # the page is served, and asks for the key itself
        assert answer.status_code == 200
        return
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/json"
    wrong = locked.request(method, path, headers={"x-api-key": "api-key-onf"})
    assert wrong.status_code == 401
    right = locked.request(method, path, headers={"x-api-key": API})
    administration = is_admin(path) or (method, path) == ("POST", "/v2/logging")
    assert (right.status_code == 403) == administration
    assert right.status_code != 401


def test_a_key_may_come_in_three_ways(locked: httpx.Client) -> None:
    basic = base64.b64encode(f"anyone:{API}".encode()).decode()
    for headers in (
        {"x-api-key": API},
        {"authorization": f"Bearer {API}"},
        {"authorization": f"bearer {ADMIN}"},
        {"authorization": f"Basic {basic}"},
        {"x-api-key": "admin-key-two"},
    ):
        assert locked.get("/v2/models/tiny", headers=headers).status_code == 200
    for headers in (
        {"authorization": "Basic !!!"},
        {"authorization": f"Digest {API}"},
        {"x-api-key": ""},
        {"x-api-key": f"{API},api-key-two"},
        {"x-api-key": API.upper()},
    ):
        assert locked.get("/v2/models/tiny", headers=headers).status_code == 401


def test_administration_wants_the_admin_key(locked: httpx.Client) -> None:
    for path in ("/v2/repository/models/tiny/load", "/v2/logging"):
        refused = locked.post(path, headers={"x-api-key": API})
        assert refused.status_code == 403
        assert "expected an admin key, got an API key" in refused.json()["error"]
    load = locked.post("/v2/repository/models/tiny/load", headers={"x-api-key": ADMIN})
    assert (load.status_code, load.json()) == (200, {"name": "tiny", "load": True})


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v2/repository/models/tiny/load%0A"), ("GET", "/v2/models/tiny/recording%0A")],
)
def test_a_newline_at_the_end_of_the_path_opens_nothing(
    locked: httpx.Client, method: str, path: str
) -> None:
    """The framework's routes match such a path too."""
    assert locked.request(method, path, headers={"x-api-key": API}).status_code == 403


def test_a_page_of_another_origin_cannot_administer(client: httpx.Client) -> None:
    path = "/v2/repository/models/nope/load"
    assert client.post(path).status_code == 404  # passed the gate: loopback, no keys
    refused = client.post(path, headers=FOREIGN)
    assert (refused.status_code, "another origin" in refused.json()["error"]) == (403, True)
    rebound = client.post(path, headers={"host": "evil.example"})
    assert (rebound.status_code, "loopback" in rebound.json()["error"]) == (403, True)
    same = client.post(path, headers={"origin": str(client.base_url).rstrip("/")})
    assert same.status_code == 404


def test_without_keys_administration_is_for_loopback_only() -> None:
    path, headers = "/v2/repository/models/tiny/unload", {b"host": b"localhost:8000"}
    nobody = digests([])
    assert Guard(nobody, nobody, local=True).refusal("POST", path, headers) is None
    away = Guard(nobody, nobody, local=False).refusal("POST", path, headers)
    assert "no admin key is set" in str(away)
    api_only = Guard(digests([API]), nobody, local=True)
    given = headers | {b"x-api-key": API.encode()}
    assert "no admin key is set" in str(api_only.refusal("POST", path, given))
    assert Guard(nobody, nobody, local=False).refusal("GET", "/v2", {}) is None


def test_the_document_says_which_operations_ask_for_a_key(locked: httpx.Client) -> None:
    document = locked.get("/openapi.json", headers={"x-api-key": API}).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header", "basic"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in PROBES), path
            assert ("401" in operation["responses"]) == (path not in PROBES), path


@pytest.mark.parametrize(
    ("text", "words"),
    [("short", "8 to 256 printable"), ("@/nowhere/keys", "readable file"), ("naïve-key", "ASCII")],
)
def test_unusable_keys_are_refused_without_being_told(text: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words) as refused:
        create_app(Settings(api_keys=text))
    assert text not in str(refused.value) or text.startswith("@")


def test_an_empty_file_of_keys_does_not_open_the_service(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    for settings in (
        Settings(api_keys=f"@{tmp_path}/keys"),
        Settings(admin_keys_file=tmp_path / "keys"),
    ):
        with pytest.raises(BadSettings, match="a key a line"):
            create_app(settings)


def test_keys_are_not_in_the_log(tmp_path: Path) -> None:
    assert API not in str(Settings(api_keys=API).model_dump())


def test_cors_is_off_unless_an_origin_is_named(client: httpx.Client, tmp_path: Path) -> None:
    preflight = {"origin": "https://page.example", "access-control-request-method": "POST"}
    closed = client.options("/v2/models/tiny/infer", headers=preflight)
    assert closed.status_code == 405
    assert not [name for name in closed.headers if name.startswith("access-control")]
    settings = Settings(models=tmp_path, cors_origins="https://page.example", api_keys=API)
    with serving(create_app(settings)) as open_:
        asked = open_.options("/v2/models/tiny/infer", headers=preflight)
        assert asked.headers["access-control-allow-origin"] == "https://page.example"
        other = open_.get("/v2", headers={"origin": "https://other.example", "x-api-key": API})
        assert "access-control-allow-origin" not in other.headers
        refused = open_.get("/v2", headers={"origin": "https://page.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://page.example"


def test_the_page_is_open_and_what_resembles_it_is_not(locked: httpx.Client) -> None:
    for path in ("/", "/page/app.js", "/page/style.css", "/page/icon.svg"):
        assert locked.get(path).status_code == 200
    for path in ("/page", "/page/", "/page/x/app.js", "/page/%2e%2e/app.js", "/page/app.js/"):
        assert locked.get(path).status_code == 401, path
    assert not is_open("//")


def test_scripts_of_a_page_are_not_interrupted_by_the_browsers_own_dialogue(
    locked: httpx.Client,
) -> None:
    """A browser that is offered Basic asks its user, also where a script could tell him better."""
    asked = locked.get("/v2", headers={"sec-fetch-dest": "empty"})
    assert asked.headers["www-authenticate"] == "Bearer"
    opened = locked.get("/docs", headers={"sec-fetch-dest": "document"})
    assert "Basic" in opened.headers["www-authenticate"]


def test_pages_forbid_what_they_do_not_need(client: httpx.Client) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
