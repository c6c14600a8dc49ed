"""Labels and preprocessing from files of the user."""

from pathlib import Path

import pytest

from training.descriptions import read_labels, read_preprocessing
from training.errors import UnusableInput

PICTURES = 'width = 28\nheight = 28\ncolour = "L"\nmean = [0.5]\nstd = [0.25]\n'


def test_labels_are_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("T-shirt/top\r\nTrouser\n\n  Käfer \n", encoding="utf-8")
    assert read_labels(file) == ("T-shirt/top", "Trouser", "Käfer")


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n\n", "expected one label a line"), (b"\xff\xfe", "UTF-8")]
)
def test_what_is_no_list_of_labels_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(UnusableInput, match=message):
        read_labels(tmp_path / "labels.txt")


def test_preprocessing_has_the_manifests_fields(tmp_path: Path) -> None:
    file = tmp_path / "pictures.toml"
    file.write_text(PICTURES)
    found = read_preprocessing(file)
    assert (found.width, found.colour, found.resize, found.std) == (28, "L", "bilinear", (0.25,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width = ", "expected TOML"),
        (PICTURES.replace("width = 28\n", ""), "pictures.toml: width: Field required"),
        (PICTURES.replace('"L"', '"RGB"'), "expected 3 values of mean and std for colour RGB"),
        (PICTURES.replace("[0.25]", "[0]"), r"std\.0: Input should be greater than 0"),
        (PICTURES + "crop = 1\n", "crop: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pictures.toml"
    file.write_text(text)
    with pytest.raises(UnusableInput, match=message):
        read_preprocessing(file)
