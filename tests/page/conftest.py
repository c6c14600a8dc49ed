"""A browser, a page that reports what goes wrong in it, and servers to look at.

Debian's Chromium, or the one that FOLDSERVE_CHROMIUM names; without one these tests are skipped.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from service.app import create_app
from service.settings import Settings
from tests.servers import serving

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("FOLDSERVE_CHROMIUM") or shutil.which("chromium")
PATIENCE_MS = 15_000  # the page asks every two seconds; the machine may do other work

# Says what the browser refuses, in the page's own console.
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    if CHROMIUM is None:
        pytest.skip("expected chromium (apt-get install chromium), or FOLDSERVE_CHROMIUM")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to sandbox root
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield launched
        launched.close()


@contextmanager
def opened(
    browser: Browser,
    address: str,
    width: int = 1280,
    dark: bool = False,
    expected: tuple[str, ...] = (),
) -> Iterator[Page]:
    """The page at an address; afterwards nothing may have gone wrong in it but what is `expected`:
    no error in the console, nothing refused by its policy, no request to anywhere else."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    faults: list[str] = []
    asked: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(_REPORT_VIOLATIONS)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    try:
        yield page
        left = [text for text in faults if not any(part in text for part in expected)]
        assert not left, left
        origin = address.partition("#")[0].rstrip("/")
        elsewhere = [url for url in asked if not url.startswith((origin, f"blob:{origin}"))]
        assert not elsewhere, elsewhere
    finally:
        context.close()


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> Open:
    """`opened` in the browser."""

    def bound(address: str, **how: object) -> AbstractContextManager[Page]:
        return opened(browser, address, **how)  # type: ignore[arg-type]

    return bound


@contextmanager
def served(models: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A client of the application over `models`, on a real socket; every request is watched."""
    eager: dict[str, Any] = {"threads": 1, "drift_sample": 1, "drift_budget": 1.0}
    with serving(create_app(Settings(models=models, **eager | settings))) as client:
        yield client


@pytest.fixture(scope="session")
def shipped(browser: Browser) -> Iterator[httpx.Client]:
    """A client of the shipped bundles."""
    with served(ROOT / "models") as client:
        yield client


@pytest.fixture
def fresh(shipped: httpx.Client) -> httpx.Client:
    """The same, with no traffic in sight."""
    for name in ("mnist-cnn", "fashion-cnn"):
        shipped.post(f"/v2/models/{name}/drift/reset").raise_for_status()
    return shipped
