"""A new version of the shipped bundle on real digits: what is in it, and when there is none."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.bundle import open_bundle, read_manifest
from service.drift.reading import read_baseline
from service.manifest import SOURCE
from tests.graphs import Builder
from tests.training.recalibrate.digits import SHIPPED, Bytes, Digits, data_of, logits
from training.bundle import Description, write_bundle
from training.errors import AnswerIsNo, UnusableInput
from training.recalibrate import Data, Order, recalibrate
from training.recalibrate.parent import open_parent
from training.recalibrate.reasons import look_at_images

LIMIT = 1e-5  # relative to the largest logit, as for every fold


def test_bright_digits_are_read_again(bright_version: Path, bright_file: Path) -> None:
    bundle = open_bundle(bright_version)
    manifest, words = bundle.manifest, bundle.manifest.recalibration
    assert words is not None
    assert bright_version.name == "2"
    assert (manifest.parent_version, words.method) == (1, "source")
    assert manifest.derivation == "re-calibrated from version 1 on 100 images of bright.npz"
    assert (words.images, words.held_out, words.prior) == (100, 100, 16)
    assert words.weight == pytest.approx(100 / 116)
    assert words.data_sha256 == hashlib.sha256(bright_file.read_bytes()).hexdigest()
    assert (words.forced, words.not_checked) == ((), ())
    assert [layer.name for layer in words.layers] == [layer.name for layer in bundle.layers]
    assert words.layers[0].mean_shift > 0.3 > words.layers[-1].mean_shift
    new, old = words.new_domain, words.source_domain
    assert old is not None
    assert new.accuracy_before is not None
    assert new.accuracy_after is not None
    assert new.accuracy_before < 0.3 < 0.97 < new.accuracy_after
    assert (new.images, old.images) == (100, 200)
    assert old.accuracy_before is not None
    assert old.accuracy_before > 0.98
    assert manifest.metrics["accuracy"] == new.accuracy_after
    assert {layer.statistics for layer in bundle.layers} == {"re-calibrated"}
    before = read_manifest(SHIPPED)
    assert manifest.preprocessing == before.preprocessing
    assert (manifest.labels, manifest.output_activation) == (before.labels, "softmax")
    assert manifest.checks.parity.passed
    assert manifest.baseline is not None
    assert (manifest.baseline.kind, manifest.baseline.images) == ("measured", 100)


def test_the_figures_hold_for_images_that_it_was_not_made_of(
    bright_version: Path, digits: Digits
) -> None:
    others = slice(2000, 2400)
    data = data_of(digits.bright(others))
    found = logits(bright_version, data.inputs["image"]).argmax(axis=1)
    words = read_manifest(bright_version).recalibration
    assert words is not None
    accuracy = (found == digits.labels[others]).mean()
    assert accuracy == pytest.approx(words.new_domain.accuracy_after, abs=0.03)
    assert words.new_domain.agreement == pytest.approx(words.new_domain.accuracy_before, abs=0.05)


def test_without_the_unfolded_network_it_is_the_same_version(parent: Path, digits: Digits) -> None:
    data = data_of(digits.bright(slice(128)))
    first = recalibrate(parent, Order(data))
    (parent / SOURCE).unlink()
    second = recalibrate(parent, Order(data))
    (a, b) = (written.manifest.recalibration for written in (first, second))
    assert a is not None
    assert b is not None
    assert (a.method, b.method) == ("source", "folded")
    for one, other in zip(a.layers, b.layers, strict=True):
        assert one.mean_shift == pytest.approx(other.mean_shift, abs=1e-5)
        assert one.variance_shift == pytest.approx(other.variance_shift, abs=1e-5)
    rows = data_of(digits.bright(slice(500, 600))).inputs["image"]
    answers = [logits(written.folder, rows) for written in (first, second)]
    assert np.abs(answers[0] - answers[1]).max() <= LIMIT * np.abs(answers[0]).max()
    held = [open_bundle(written.folder).statistics for written in (first, second)]
    for layer, fields in held[0].items():
        for name in ("scale", "bias"):
            np.testing.assert_array_equal(fields[name], held[1][layer][name])
        for name in ("mean", "var"):
            largest = np.abs(fields[name]).max()
            np.testing.assert_allclose(held[1][layer][name], fields[name], atol=1e-5 * largest)


def test_on_images_of_training_it_stays_nearly_the_same(parent: Path, digits: Digits) -> None:
    data = data_of(digits.images[:400], digits.labels[:400])
    words = recalibrate(parent, Order(data)).manifest.recalibration
    assert words is not None
    assert words.new_domain.agreement is not None
    assert words.new_domain.agreement >= 0.98
    assert max(layer.mean_shift for layer in words.layers) < 0.05
    assert words.forced == ()


def test_a_version_of_a_version_knows_its_parent(bright_version: Path, digits: Digits) -> None:
    order = Order(data_of(digits.bright(slice(128))), version=7)
    third = recalibrate(bright_version, order)
    assert (third.folder.name, third.manifest.parent_version) == ("7", 2)
    first, again = read_manifest(bright_version).recalibration, third.manifest.recalibration
    assert first is not None
    assert again is not None
    # What the prior held back the first time: a seventh.
    assert again.layers[0].mean_shift < 0.3 * first.layers[0].mean_shift


def _kinds(digits: Digits) -> dict[str, tuple[Bytes, str]]:
    """Images that are refused, and what of the reason."""
    half = digits.first_half(300)
    mixed = np.concatenate([digits.bright(slice(100)), digits.images[100:200]])
    return {
        "few": (digits.bright(slice(63)), "expected at least 64 images, got 63"),
        "late": (digits.images[half], "only the last layers have moved"),
        "classes": (
            digits.bright(slice(None))[half],
            "the mix of predicted classes is another one",
        ),
        "mixture": (mixed, "the images are of two kinds, of which the smaller has 50%"),
        "inverted": (255 - digits.images[:200], "the mix of predicted classes is another one"),
    }


@pytest.mark.parametrize("kind", ["few", "late", "classes", "mixture", "inverted"])
def test_where_it_would_harm_it_is_refused(parent: Path, digits: Digits, kind: str) -> None:
    images, sentence = _kinds(digits)[kind]
    with pytest.raises(AnswerIsNo, match=sentence):
        recalibrate(parent, Order(data_of(images)))
    assert [path.name for path in parent.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("kind", ["few", "late"])
def test_forced_it_is_done_and_says_so(parent: Path, digits: Digits, kind: str) -> None:
    images, sentence = _kinds(digits)[kind]
    manifest = recalibrate(parent, Order(data_of(images), force=True)).manifest
    assert manifest.recalibration is not None
    assert any(sentence in reason for reason in manifest.recalibration.forced)
    assert read_manifest(parent.with_name("2")) == manifest


@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: np.minimum(x, 200), lambda x: x // 2 + 5]
)
def test_one_domain_is_not_refused(parent: Path, digits: Digits, change: object) -> None:
    assert callable(change)
    data = data_of(change(digits.images[:200]))
    assert look_at_images(open_parent(parent), data.inputs).reasons == {}


def test_a_bundle_without_a_measured_baseline_says_what_was_not_checked(tmp_path: Path) -> None:
    written = write_bundle(_stack(), Description("stack"), tmp_path)
    rows = np.random.default_rng(0).normal(1, 2, (80, 3, 8, 8)).astype(np.float32)
    order = Order(Data({"image": rows}, None, "drawn", "0" * 64))
    words = recalibrate(written.folder, order).manifest.recalibration
    assert words is not None
    assert [sentence.partition(":")[0] for sentence in words.not_checked] == [
        "mixture",
        "label shift",
    ]


def _stack(twice: bool = False) -> onnx.ModelProto:
    """A layer on the input that nothing folds, a folded one, and perhaps one right behind it."""
    build = Builder(1)

    def layer(data: str, name: str, channels: int) -> str:
        random = build.random
        fields = {
            "scale": random.uniform(0.5, 1.5, channels),
            "bias": random.normal(0, 1, channels),
            "mean": random.normal(0, 1, channels),
            "var": random.uniform(0.5, 2, channels),
        }
        fields["scale"][0] = 0.0  # a constant channel
        return build.normalize(data, name, {k: v.astype(np.float32) for k, v in fields.items()})

    x = build.op("Relu", [layer("image", "first", 3)], "r1")
    x = layer(build.op("Conv", [x, build.weight("w", 6, 3, 3, 3)], "c", pads=[1] * 4), "second", 6)
    if twice:
        x = layer(x, "third", 6)
    build.op("GlobalAveragePool", [build.op("Relu", [x], "r2")], "pooled")
    return build.model({"image": ["n", 3, 8, 8]}, ["pooled"])


def test_layers_that_were_left_and_constant_channels(tmp_path: Path) -> None:
    written = write_bundle(_stack(), Description("stack"), tmp_path)
    assert [layer.rule is None for layer in open_bundle(written.folder).layers] == [True, False]
    rows = np.random.default_rng(0).normal(1, 2, (80, 3, 8, 8)).astype(np.float32)
    order = Order(Data({"image": rows}, None, "drawn", "0" * 64))
    first = recalibrate(written.folder, order)
    (written.folder / SOURCE).unlink()
    second = recalibrate(written.folder, order)
    answers = [logits(made.folder, rows[:8]) for made in (first, second)]
    assert np.abs(answers[0] - answers[1]).max() <= LIMIT * np.abs(answers[0]).max()
    assert np.abs(logits(written.folder, rows[:8]) - answers[0]).max() > 0.1


def test_layers_that_share_a_node_need_the_unfolded_network(tmp_path: Path) -> None:
    written = write_bundle(_stack(twice=True), Description("stack"), tmp_path)
    rows = np.ones((80, 3, 8, 8), np.float32)
    (written.folder / SOURCE).unlink()
    with pytest.raises(UnusableInput, match=r"layer 'second' .* needs source\.onnx"):
        recalibrate(written.folder, Order(Data({"image": rows}, None, "drawn", "0" * 64)))


def test_bundles_that_are_older_are_read() -> None:
    assert read_manifest(SHIPPED).recalibration is None
    assert read_baseline(open_bundle(SHIPPED)) is not None
