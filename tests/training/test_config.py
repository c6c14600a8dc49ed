"""Configurations: presets, TOML files, and what is wrong with them."""

from pathlib import Path

import pytest

from training.config import PRESETS, load_config
from training.data.sources import SOURCES
from training.errors import UnusableInput
from training.networks import NETWORKS


def test_presets_name_networks_and_data_that_exist() -> None:
    assert set(PRESETS) == {"mnist-cnn", "mnist-mlp", "fashion-cnn"}
    for name, preset in PRESETS.items():
        assert load_config(name) is preset
        assert preset.network in NETWORKS
        assert preset.dataset in SOURCES


def test_a_toml_file_has_the_same_fields(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'network = "mnist-mlp"\ndataset = "mnist"\nepochs = 3\n[augmentation]\nrotate = 5\n'
    )
    config = load_config(str(file))
    assert (config.name, config.epochs, config.augmentation.rotate) == ("mine", 3, 5.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "expected TOML"),
        ('network = "mnist-mlp"', "mine.toml: dataset: Field required"),
        ('network = "a"\ndataset = "b"\nepochs = 0', "epochs: Input should be greater than 0"),
        ('network = "a"\ndataset = "b"\nepochs = 1\nlr = 1', "lr: Unexpected keyword argument"),
        (
            'network = "a"\ndataset = "b"\nepochs = 1\nbatch_size = 1',
            "batch_size: .* greater than 1",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UnusableInput, match=message) as raised:
        load_config(str(file))
    assert "\n" not in str(raised.value)


def test_unknown_presets_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"expected a preset of mnist-cnn, .*; got resnet"):
        load_config("resnet")
    with pytest.raises(UnusableInput, match="expected a readable file, got No such file"):
        load_config(str(tmp_path / "none.toml"))


def test_changes_are_validated_and_none_changes_nothing() -> None:
    preset = PRESETS["mnist-cnn"]
    assert preset.replace(epochs=None, seed=None) == preset
    assert preset.replace(seed=3).seed == 3
    with pytest.raises(UnusableInput, match="epochs: Input should be greater than 0, got -1"):
        preset.replace(epochs=-1)
