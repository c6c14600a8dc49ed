"""The walls between the rooms, as far as the import contracts cannot see them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "training")


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def test_the_service_loads_nothing_of_the_offline_toolkit() -> None:
    code = f"import sys, service.app; print([m for m in {HEAVY} if m in sys.modules])"
    assert _python(code).strip() == "[]"


def test_the_health_check_loads_no_framework() -> None:
    heavy = ("numpy", "fastapi", "starlette")
    code = f"import sys, service.__main__; print([m for m in {heavy} if m in sys.modules])"
    assert _python(code).strip() == "[]"


def test_a_start_loads_nothing_that_the_first_answer_can_do_without() -> None:
    """Decoders of pictures, Prometheus's text, the documentation's models: with their first use."""
    late = ("PIL", "prometheus_client", "grpc", "service.api.schemas", "service.api.openapi")
    code = f"import sys, service.app; print([m for m in {late} if m in sys.modules])"
    assert _python(code).strip() == "[]"


def test_folding_works_without_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import training.bundle, training.cli.fold, training.probe, training.recalibrate\n"
        "import training.cli.recalibrate, training.recalibrate.data; print('works')"
    )
    assert _python(code).strip() == "works"


def test_no_file_outgrows_its_room() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("service", "training", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := path.read_text().count("\n")) > 300
    }
    assert not {name for name in long if not name.startswith("tests/")}, long
