"""The page's files: all of them there, cached by their tag, closed to everything from elsewhere."""

import re
from pathlib import Path

import httpx
import pytest

from service.api import routes

FOLDER = Path(routes.__file__).parents[1] / "static" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir())
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def test_whoever_opens_the_address_in_a_browser_finds_the_page(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_once_and_then_known(client: httpx.Client, name: str) -> None:
    first = client.get(f"/page/{name}")
    assert first.status_code == 200
    assert first.content == (FOLDER / name).read_bytes()
    assert first.headers["content-type"].startswith(TYPES[name.partition(".")[2]])
    assert first.headers["cache-control"] == "no-cache"
    for tag in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = client.get(f"/page/{name}", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get(f"/page/{name}", headers={"if-none-match": '"other"'}).status_code == 200


def test_nothing_else_is_served(client: httpx.Client) -> None:
    for name in ("nothing.js", "web.py", "%2e%2e%2fweb.py", "..%2findex.html"):
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 404
        assert list(answer.json()) == ["error"]
    assert client.post("/").status_code == 405


def test_a_browser_is_told_to_refuse_what_the_page_does_not_need(client: httpx.Client) -> None:
    for path in ("/", "/page/app.js"):
        headers = client.get(path).headers
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        for kind in ("script-src", "style-src", "connect-src"):
            assert policy[kind] == "'self'"
        assert policy["img-src"] == "'self' data: blob:"
        for kind in ("base-uri", "form-action", "frame-ancestors"):
            assert policy[kind] == "'none'"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_other_address_and_only_files_that_there_are() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text()
        addresses = set(re.findall(r"https?://[^\"'\s<)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name  # a name, which nobody asks for
        for part in re.findall(r"""(?:/page/|from "\./)([\w.]+)""", text):
            assert part in FILES, f"{name}: {part}"
        assert "innerHTML =" not in text, name
        assert not re.search(r"\son\w+=|<style|style=", text) or name.endswith(".js"), name
