"""schemathesis reads /openapi.json and asks what it says may be asked, and what it says may not.

Bounded: a fixed number of generated requests for each operation, from a fixed seed.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import start
from tests.service.bundles import elementwise, tensor, write_bundle, write_plain

EXAMPLES = 25
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)


UNLOAD = "/v2/repository/models/{model_name}/unload"


# What unloads comes apart: afterwards other routes rightly answer 503, which counts as a fault.
@pytest.mark.parametrize("which", [f"--exclude-path={UNLOAD}", f"--include-path={UNLOAD}"])
def test_schemathesis_finds_no_fault(tmp_path: Path, which: str) -> None:
    models = tmp_path / "models"
    write_bundle(models, "tiny", 1)
    both = [tensor(name, "FP32", [-1, 3]) for name in ("x", "y")]
    write_plain(models, "digits", elementwise("Neg"), both[:1], both[1:])
    server = start("--models", str(models), FOLDSERVE_THREADS="1")
    try:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"http://{server.address}/openapi.json",
                f"--checks={CHECKS}",
                which,
                f"--max-examples={EXAMPLES}",
                "--phases=examples,coverage,fuzzing",
                "--seed=1",
                "--no-color",
                "--request-timeout=10",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=280,
        )
    finally:
        status, errors = server.stop()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert status == 0
    assert "Traceback" not in errors
