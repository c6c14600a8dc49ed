"""Photographs that packages carry, and the ImageNet classes that trained networks see in them."""

from training.packages import LINUX, Carried, Wheel, fetch_files

# Class by file: Egyptian cat, espresso, palace, moped.
STATED = {"chelsea.png": 285, "coffee.png": 967, "china.jpg": 698, "motorcycle_left.png": 665}
_SCIKIT_IMAGE = Carried(
    Wheel(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        LINUX,
    ),
    {
        "skimage/data/chelsea.png": (
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"
        ),
        "skimage/data/coffee.png": (
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"
        ),
        "skimage/data/motorcycle_left.png": (
            "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
        ),
    },
)
_SCIKIT_LEARN = Carried(
    Wheel(
        "scikit-learn==1.9.1",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        LINUX,
    ),
    {
        "sklearn/datasets/images/china.jpg": (
            "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29"
        ),
    },
)


def photographs() -> dict[str, bytes]:
    """The files by name, from the cache or the package index."""
    advice = "these tests need the package index, or its files in the cache"
    found = fetch_files(_SCIKIT_IMAGE, advice) | fetch_files(_SCIKIT_LEARN, advice)
    return {path.name: path.read_bytes() for path in found.values()}
