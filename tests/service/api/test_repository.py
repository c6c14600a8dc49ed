"""The repository index: what was found, and what became of it."""

import httpx


def test_index_lists_every_version_with_its_state(client: httpx.Client) -> None:
    entries = client.post("/v2/repository/index").json()
    states = {(entry["name"], entry["version"]): entry for entry in entries}
    assert states["tiny", "1"] == {
        "name": "tiny",
        "version": "1",
        "state": "READY",
        "reason": "",
    }
    assert states["broken", "1"]["state"] == "UNAVAILABLE"
    assert states["broken", "1"]["reason"].startswith("model.onnx: expected")
    assert [e["name"] for e in entries] == sorted(e["name"] for e in entries)


def test_index_of_the_ready_ones(client: httpx.Client) -> None:
    every = client.post("/v2/repository/index", json={"ready": False}).json()
    ready = client.post("/v2/repository/index", json={"ready": True}).json()
    assert [entry for entry in every if entry["state"] == "READY"] == ready
    assert len(ready) == len(every) - 1
