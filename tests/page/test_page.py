"""The page on the shipped bundles: what it shows, and that it shows what the API answers."""

import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import ROOT, Open
from tests.page.pictures import SEVEN, Pixels, draw, post
from training.data import Dataset

MNIST = "/v2/models/mnist-cnn"


@pytest.fixture(scope="session")
def digits(mnist: Dataset) -> Pixels:
    """Those that the baseline was not measured on: every second of the test set was."""
    pictures: Pixels = mnist.test_images[1:800:2]
    return pictures


def _verdict(page: Page, word: str) -> None:
    expect(page.locator("#verdict .word strong")).to_have_text(word)


def _invert(pixels: Pixels) -> Pixels:
    inverted: Pixels = 255 - pixels
    return inverted


def test_models_and_promises(open_page: Open, fresh: httpx.Client) -> None:
    with open_page(str(fresh.base_url)) as page:
        expect(page.locator("#service")).to_have_text("Ready, 2 of 2 versions served")
        expect(page.locator("#models button")).to_have_count(2)
        expect(page.locator("#models [aria-current]")).to_contain_text("fashion-cnn")
        page.get_by_role("button", name="mnist-cnn").click()
        expect(page.locator("#model-title")).to_have_text("mnist-cnn · version 1")
        kept = page.locator("#promises .kept")
        expect(kept.locator("strong")).to_have_text(["Frozen", "Batch-invariant", "Parity"])
        parity = fresh.get(f"{MNIST}/normalization").json()["checks"]["built"]["parity"]
        figure = f"{parity['figure']:.1e}".replace("e-0", "e−")
        expect(kept.nth(2)).to_contain_text(f"Built: {figure} (limit 1.0e−5)")
        expect(page.locator("#layer-title")).to_have_text("features.1")
        expect(page.locator("#layer .went")).to_contain_text("Folded into node_conv2d by the rule")


def test_too_little_traffic_is_said_with_how_much_is_needed(
    open_page: Open, fresh: httpx.Client, digits: Pixels
) -> None:
    post(fresh, "mnist-cnn", digits[:3])
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        _verdict(page, "Not enough traffic yet")
        expect(page.locator("#verdict .diagnosis")).to_contain_text("3 of the 5 images")
        expect(page.locator("#strip .bar.unknown")).to_have_count(6)


def test_a_drawn_digit_is_recognized_and_every_layer_answers(
    open_page: Open, fresh: httpx.Client
) -> None:
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        draw(page, SEVEN)
        answers = page.locator("#try .answers .class")
        expect(answers).to_have_count(5)
        expect(answers.first.locator(".name")).to_have_text("7")
        layers = [layer["name"] for layer in fresh.get(f"{MNIST}/normalization").json()["layers"]]
        lane = page.locator("#try .lane li .unseen")
        expect(lane).to_have_count(len(layers))
        for index, name in enumerate(layers):
            expect(lane.nth(index)).to_contain_text(f"{name}: ")
        expect(page.locator("#try .like")).to_contain_text("Like the images of the baseline")
        heard = page.locator("#try [aria-live]")
        expect(heard).to_have_text(re.compile(r"^7, >?\d+.*%\. ● Like the images of the baseline"))
        page.get_by_role("button", name="Clear").click()
        expect(answers).to_have_count(0)
        draw(page, [(0.05 + 0.9 * (i % 2), 0.05 + i / 20) for i in range(19)])  # no digit at all
        expect(page.locator("#try .unlike")).to_contain_text("Unlike the images of the baseline")
    assert fresh.get(f"{MNIST}/drift").json()["n"] == 0  # trying is not traffic


def test_a_chosen_picture_is_recognized(open_page: Open, fresh: httpx.Client) -> None:
    # A browser tells its console of every answer that is no success.
    with open_page(f"{fresh.base_url}#fashion-cnn/1", expected=("415",)) as page:
        expect(page.locator("#try .drop")).to_be_visible()
        page.set_input_files("#file", ROOT / "docs" / "examples" / "ankle-boot.png")
        expect(page.locator("#try .answers .name").first).to_have_text("Ankle boot")
        expect(page.locator("#try img.preview")).to_be_visible()
        page.set_input_files("#file", ROOT / "README.md")
        expect(page.locator("#try .problem")).to_contain_text("expected an image")


def test_shifted_traffic_appears_by_itself(
    open_page: Open, fresh: httpx.Client, digits: Pixels
) -> None:
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        _verdict(page, "Not enough traffic yet")
        post(fresh, "mnist-cnn", digits[:100])
        _verdict(page, "No drift")
        expect(page.locator("#strip .cell.alarm")).to_have_count(0)
        expect(page.locator("#changes")).to_be_hidden()
        fresh.post(f"{MNIST}/drift/reset").raise_for_status()
        post(fresh, "mnist-cnn", digits[:100], _invert)
        _verdict(page, "Drift")
        expect(page).to_have_title("▲ Drift · mnist-cnn · foldserve")
        expect(page.locator("#verdict .cause")).to_contain_text("the images are inverted")
        drift = fresh.get(f"{MNIST}/drift").json()
        expect(page.locator("#strip .cell.alarm")).to_have_count(
            sum(layer["alarm"] for layer in drift["layers"])
        )
        expect(page.locator("#verdict .facts")).to_contain_text("100 images in")
        _is_what_the_api_answers(page, fresh, drift["layers"][0])
        expect(page.locator("#classes .class")).to_have_count(10)
        alarms = [
            change for change in drift["changes"] if change["alarm"] and change["explained"] >= 0.1
        ]
        alarms.sort(key=lambda change: -change["explained"])
        assert alarms[0]["name"] == "inverted"
        names = [change["name"] for change in alarms]
        expect(page.locator("#changes .name")).to_have_text(names)
        page.get_by_text("As a table").click()
        expect(page.locator("#time tbody tr").first).to_contain_text("drift", timeout=25_000)
        expect(page.locator("#traffic .value").first).to_contain_text("/s")


def test_percentiles_are_those_of_the_statistics(
    open_page: Open, fresh: httpx.Client, digits: Pixels
) -> None:
    """Interpolated by NumPy in the histogram that the API answers."""
    post(fresh, "mnist-cnn", digits[:100])
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        shown = page.locator("#traffic .percentiles")
        expect(shown.locator("dt")).to_have_text(["p50", "p95", "p99"])
        (stats,) = fresh.get(f"{MNIST}/stats").json()["model_stats"]
        found = stats["latency_histogram"]
        below = np.cumsum([0, *found["counts"][:-1]])
        places = np.array([0.5, 0.95, 0.99]) * stats["inference_stats"]["success"]["count"]
        expected = np.interp(places, below, [0, *found["bounds_ns"]]) / 1e6
        for text, wanted in zip(shown.locator("dd").all_inner_texts(), expected, strict=True):
            value, unit = text.split()
            assert float(value) / {"µs": 1e3, "ms": 1}[unit] == pytest.approx(wanted, rel=0.01)


def _is_what_the_api_answers(page: Page, client: httpx.Client, layer: dict[str, object]) -> None:
    """The channels of the layer that is shown, sorted by contribution."""
    page.locator("#strip .cell").first.click()
    expect(page.locator("#layer-title")).to_have_text(str(layer["name"]))
    found = client.get(f"{MNIST}/drift/layers/{layer['name']}").json()["channels"]
    order = np.argsort(-np.array(found["contribution"]), kind="stable")
    rows = page.locator("#layer .space .row")
    expect(rows.first.locator(".c0")).to_have_text(str(order[0]))
    for row, channel in enumerate(order[:5]):
        expect(rows.nth(row).locator(".c0")).to_have_text(str(channel))
        shown = rows.nth(row).locator(".now").first.inner_text().replace("−", "-")
        assert float(shown) == pytest.approx(found["mean"][channel], rel=0.006, abs=6e-4)


def test_it_can_be_used_with_the_keyboard_alone(open_page: Open, fresh: httpx.Client) -> None:
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        title = page.locator("#layer-title")
        expect(title).to_have_text("features.1")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.role") == "option":
                break
        option = page.locator("#strip [role=option]")
        expect(option.first).to_be_focused()
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none"
        for key, name in (("ArrowRight", 1), ("End", 5), ("ArrowRight", 5), ("Home", 0)):
            page.keyboard.press(key)
            expect(option.nth(name)).to_be_focused()
            expect(option.nth(name)).to_have_attribute("aria-selected", "true")
            expect(title).to_have_text(str(option.nth(name).get_attribute("title")))
        assert page.url.endswith("#mnist-cnn/1/features.1")
        page.keyboard.press("Tab")
        expect(page.locator("#layer .rows")).to_be_focused()


def test_it_does_not_ask_while_nobody_looks(open_page: Open, fresh: httpx.Client) -> None:
    with open_page(f"{fresh.base_url}#mnist-cnn/1") as page:
        _verdict(page, "Not enough traffic yet")
        hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        event = "document.dispatchEvent(new Event('visibilitychange'));"
        page.evaluate(hide % "true" + event)
        page.wait_for_timeout(500)  # for what is under way
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2500)
        assert not asked
        page.evaluate(hide % "false" + event)
        page.wait_for_timeout(500)
        assert asked
