"""Bundling asks the doctor: findings are kept, errors stop it, and --force is recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.bundle import open_bundle
from service.manifest import DIAGNOSIS
from tests.training.doctor.networks import CHANNELS, healthy, spoiled
from training.bundle import Description, write_bundle
from training.errors import AnswerIsNo

INITIAL = {
    f"{layer}.{name}": np.full(CHANNELS, value, np.float32)
    for layer in ("first", "second")
    for name, value in (("mean", 0), ("var", 1))
}


def test_findings_are_kept_with_their_layer_and_as_a_whole(tmp_path: Path) -> None:
    model = healthy(spoiled("second.var", 3, 5e-5), {"momentum": 0.9})
    bundle = open_bundle(write_bundle(model, Description("net"), tmp_path).folder)
    first, second = bundle.layers
    assert first.findings == ()
    assert any(finding.startswith("BN010 warning: second: ") for finding in second.findings)
    kept = json.loads(bundle.read(DIAGNOSIS))
    assert {"BN010", "BN030"} <= {finding["id"] for finding in kept["findings"]}
    assert kept["ignored"] == ["BN003", "BN021"]
    assert bundle.manifest.forced == ()


def test_errors_stop_bundling_with_the_first_sentence(tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo, match=r"BN005 error: first: .* \(and 1 more\); --force"):
        write_bundle(healthy(INITIAL), Description("net"), tmp_path)
    assert not (tmp_path / "net").exists()


def test_force_is_recorded_with_what_it_overrode(tmp_path: Path) -> None:
    written = write_bundle(healthy(INITIAL), Description("net"), tmp_path, force=True)
    manifest = open_bundle(written.folder).manifest
    assert [sentence[:19] for sentence in manifest.forced] == [
        "BN005 error: first:",
        "BN005 error: second",
    ]


def test_force_does_not_override_what_the_service_promises(tmp_path: Path) -> None:
    broken = healthy(spoiled("first.mean", 0, np.nan))
    with pytest.raises(AnswerIsNo, match="layer 'first' cannot be frozen"):
        write_bundle(broken, Description("net"), tmp_path, force=True)
    assert not (tmp_path / "net").exists()
