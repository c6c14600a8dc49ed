"""What the page says where there is nothing to show, or nobody to ask; and very wide layers."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.graphs import Builder
from tests.page.conftest import ROOT, Open, served
from tests.servers import start
from tests.service.bundles import elementwise, tensor, write_plain
from training.bundle import Description, write_bundle

CHANNELS = 4096
# A browser tells its console of every answer that is no success: not watched, not ready.
REFUSED = ("404", "503")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with thousands of channels; a network that takes numbers; a damaged bundle."""
    folder = tmp_path_factory.mktemp("models")
    builder = Builder(1)
    wide = builder.op("Conv", ["image", builder.weight("w", CHANNELS, 1, 1, 1)], "c")
    pooled = builder.op("GlobalAveragePool", [builder.normalize(wide, "wide", CHANNELS)], "p")
    builder.op("Flatten", [pooled], "scores")
    model = builder.model({"image": ["N", 1, 4, 4]}, ["scores"])
    write_bundle(model, Description("wide"), folder)
    both = [tensor(name, "FP32", [-1, 3]) for name in ("x", "y")]
    write_plain(folder, "numbers", elementwise("Neg"), both[:1], both[1:])
    write_plain(folder, "torn", elementwise("Neg"), both[:1], both[1:])
    (folder / "torn" / "1" / "model.onnx").write_bytes(b"junk")
    return folder


def test_thousands_of_channels_have_elements_only_in_sight(open_page: Open, models: Path) -> None:
    with (
        served(models) as client,
        open_page(f"{client.base_url}#wide/1/wide", expected=REFUSED) as page,
    ):
        rows = page.locator("#layer .space .row")
        expect(rows.first).to_be_visible()
        rows_of_table = page.locator("#layer [role=table]")
        expect(rows_of_table).to_have_attribute("aria-rowcount", str(CHANNELS + 1))
        instances = {"instances": [[[[float(i + j)] * 4 for j in range(4)]] for i in range(8)]}
        client.post("/v2/models/wide/predict", json=instances).raise_for_status()
        expect(page.locator("#layer .channels .c6").nth(1)).not_to_have_text("–")
        page.locator("#layer .rows").evaluate("element => element.scrollTop = 1e9")
        expect(page.locator(f"#layer [aria-rowindex='{CHANNELS + 1}']")).to_be_visible()
        assert rows.count() < 40
        page.select_option("#order", "channel")
        expect(rows.first.locator(".c0")).to_have_text("0")
        expect(page.locator("#try .note").first).to_contain_text("takes numbers, not pictures")


def test_what_cannot_be_shown_is_said(open_page: Open, models: Path) -> None:
    with (
        served(models) as client,
        open_page(f"{client.base_url}#numbers/1", expected=REFUSED) as page,
    ):
        expect(page.locator("#verdict .word strong")).to_have_text("Not watched")
        expect(page.locator("#verdict .diagnosis")).to_contain_text("has no baseline")
        page.get_by_role("button", name="torn").click()
        expect(page.locator("#empty")).to_contain_text("torn · version 1 is not served")
        expect(page.locator("#empty")).to_contain_text("model.onnx: expected 74 bytes, got 4")
        expect(page.locator("#service")).to_contain_text("2 of 3 versions served")


def test_without_a_watch_predictions_still_answer(open_page: Open) -> None:
    with (
        served(ROOT / "models", drift_sample=0) as client,
        open_page(f"{client.base_url}#mnist-cnn/1", expected=REFUSED) as page,
    ):
        expect(page.locator("#verdict .diagnosis")).to_contain_text("switched off")
        page.set_input_files("#file", ROOT / "docs" / "examples" / "seven.png")
        expect(page.locator("#try .answers .name").first).to_have_text("7")
        expect(page.locator("#try .result .note")).to_contain_text("switched off")


def test_no_models(open_page: Open, tmp_path: Path) -> None:
    with (
        served(tmp_path) as client,
        open_page(f"{client.base_url}", expected=("503",)) as page,
    ):
        expect(page.locator("#empty")).to_contain_text("No models yet")
        expect(page.locator("#service")).to_contain_text("Not ready, 0 of 0 versions")


def test_a_key_is_asked_for_and_stays_in_the_tab(open_page: Open) -> None:
    with (
        served(ROOT / "models", api_keys="api-key-one") as client,
        open_page(f"{client.base_url}#mnist-cnn/1", expected=("401",)) as page,
    ):
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type("not-the-key")
        page.keyboard.press("Enter")
        expect(page.locator("#key-problem")).to_have_text("This key is not one of the service's.")
        page.get_by_label("API key").fill("api-key-one")
        page.keyboard.press("Enter")
        expect(page.locator("#model-title")).to_have_text("mnist-cnn · version 1")
        expect(page.locator("#key")).to_be_hidden()
        stored = page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
        assert stored == [1, 0, ""]
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_label("API key")).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0


def test_a_service_that_is_away_is_said_to_be_and_found_again(open_page: Open) -> None:
    gone = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "503")
    flags = ("--models", str(ROOT / "models"))
    server = start(*flags, FOLDSERVE_THREADS="1")
    with open_page(f"http://{server.address}#mnist-cnn/1", expected=gone) as page:
        title = page.locator("#model-title")
        expect(title).to_have_text("mnist-cnn · version 1")
        server.stop()
        expect(page.locator("#away")).to_contain_text("The service does not answer.")
        expect(title).to_have_text("mnist-cnn · version 1")
        again = start(*flags, "--port", str(server.port), FOLDSERVE_THREADS="1")
        try:
            expect(page.locator("#away")).to_be_hidden(timeout=30_000)
        finally:
            again.stop()
