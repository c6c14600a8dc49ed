"""How the page looks: on a telephone, in the dark, and to those who do not see it."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import Open
from tests.page.pictures import SEVEN, Pixels, draw, post
from training.data import Dataset

NARROW, WIDE = 360, 1280


@pytest.fixture(scope="module")
def address(shipped: httpx.Client, mnist: Dataset) -> str:
    """A page with something in every part: drifting traffic."""
    shipped.post("/v2/models/mnist-cnn/drift/reset").raise_for_status()
    bright: Pixels = mnist.test_images[:60] // 2 + 100
    post(shipped, "mnist-cnn", bright)
    return f"{shipped.base_url}#mnist-cnn/1"


def _filled(page: Page) -> None:
    expect(page.locator("#verdict .word strong")).to_have_text("Drift")
    draw(page, SEVEN)
    expect(page.locator("#try .answers .class")).to_have_count(5)
    expect(page.locator("#layer .space .row").first).to_be_visible()


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_it(open_page: Open, address: str, width: int, dark: bool) -> None:
    """axe-core finds nothing against WCAG 2.2 AA, contrast included; nothing is cut off."""
    with open_page(address, width=width, dark=dark) as page:
        _filled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, paper[4:-1].split(","))) < 64) == dark
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_who_wants_no_motion_has_none(open_page: Open, address: str) -> None:
    with open_page(address) as page:
        _filled(page)
        duration = "getComputedStyle(document.querySelector('#strip .bar')).transitionDuration"
        assert page.evaluate(duration) != "0s"
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(duration) == "0s"
