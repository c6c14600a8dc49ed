"""Traffic in pictures, and a digit drawn with the mouse."""

import io
from collections.abc import Callable

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from tests.servers import poll

Pixels = NDArray[np.uint8]
# A seven, in shares of the pad: along the top, and down.
SEVEN = [(0.28, 0.25), (0.72, 0.25), (0.62, 0.42), (0.52, 0.6), (0.45, 0.8)]
_AT_ONCE = 50


def png(pixels: Pixels) -> bytes:
    """A grey picture as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def post(
    client: httpx.Client,
    name: str,
    pictures: Pixels,
    change: Callable[[Pixels], Pixels] = lambda pixels: pixels,
) -> None:
    """Posts pictures [N, H, W] as traffic, and waits until all of them have been compared."""
    drift = f"/v2/models/{name}/drift"
    before = client.get(drift).json()["n"]
    for start in range(0, len(pictures), _AT_ONCE):
        files = [
            ("file", (f"{index}.png", png(change(one)), "image/png"))
            for index, one in enumerate(pictures[start : start + _AT_ONCE])
        ]
        client.post(f"/v2/models/{name}/predict", files=files).raise_for_status()
    wanted = before + len(pictures)
    poll(lambda: client.get(drift).json()["n"] >= wanted, "the traffic to be compared")


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """Draws a line with the mouse."""
    pad = page.locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
