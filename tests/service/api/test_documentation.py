"""/docs and /openapi.json: every route, every status, every body, and nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.api.routes import ROUTERS


@pytest.fixture(scope="module")
def schema(client: httpx.Client) -> dict[str, Any]:
    """The document that clients read."""
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_there(schema: dict[str, Any]) -> None:
    routed = {
        (entry.template, entry.method.lower())
        for router in ROUTERS
        for entry in router.entries
        if entry.operation is not None
    }
    assert {(path, method) for path, method, _ in operations(schema)} == routed


OTHER_FORMS = {"metrics": "text/plain", "recording": "application/octet-stream"}


def test_every_route_is_described(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        place = f"{method} {path}"
        assert operation["summary"], place
        assert operation["description"], place
        assert operation["tags"], place
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), place
        takes_body = method == "post" and not path.endswith("/reset")
        assert takes_body == ("requestBody" in operation), place
        for status, response in operation["responses"].items():
            if status == "200" and (form := OTHER_FORMS.get(path.rpartition("/")[2])):
                assert list(response["content"]) == [form]
                continue
            content = response["content"]["application/json"]["schema"]
            expected = {"$ref": "#/components/schemas/Error"}
            assert (content == expected) == (status != "200"), f"{place} {status}"
        assert "422" not in operation["responses"], place
    ids = [operation["operationId"] for *_, operation in operations(schema)]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    known = schema["components"]["schemas"]
    for reference in references(schema):
        prefix, _, name = reference.rpartition("/")
        assert prefix == "#/components/schemas"
        assert name in known


def test_the_page_asks_nobody_else(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assets = re.findall(r"""(?:src|href)=["'](/[^"']+)""", page)
    assert len(assets) == 4
    for asset in assets:
        answer = client.get(asset)
        assert answer.status_code == 200
        assert len(answer.content) > 100
    assert "Apache License" in client.get("/docs/assets/LICENSE").text
