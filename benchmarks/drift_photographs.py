"""Photographs that packages carry, as traffic for a network that was trained on ImageNet."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from corruptions import Pixels
from debian_packages import Package, read_package
from numpy.typing import NDArray
from PIL import Image
from qt_resources import read_resources

from training.packages import LINUX, Carried, Wheel, fetch_files

LEAST_SIDE = 200  # pixels: smaller ones are icons
_ENOUGH = 768  # pixels of the shorter side: more are not kept in memory

_CATS = "alibi/data/cats.tar.gz"  # four pictures of ImageNet
_SKIMAGE = Carried(
    Wheel(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        LINUX,
    ),
    {
        f"skimage/data/{name}": sha256
        for name, sha256 in {
            "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
            "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
            "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
            "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
            "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
            "motorcycle_left.png": (
                "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
            ),
            "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        }.items()
    },
)
_SKLEARN = Carried(
    Wheel(
        "scikit-learn==1.9.1",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        LINUX,
    ),
    {
        "sklearn/datasets/images/china.jpg": (
            "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29"
        ),
        "sklearn/datasets/images/flower.jpg": (
            "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638"
        ),
    },
)
_GRADIO = Carried(
    Wheel("gradio==6.31.0", "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a"),
    {
        "gradio/media_assets/images/cheetah.jpg": (
            "29b0090f5ec471dad0264abc20ecc3c80a0133a63a03d11df920e39a093fe6c8"
        ),
        "gradio/media_assets/images/cheetah1.jpg": (
            "35550bfbba996e59c242af00f6a14a9c0d055dfbc52ad069a1a4e8c1c39ca095"
        ),
        "gradio/media_assets/images/lion.jpg": (
            "4c45ece00075f152cb2e6cfd5f1dfd7dc8e83042264685b4f470026240eff3ef"
        ),
        "gradio/media_assets/images/tower.jpg": (
            "f57f96f7a71f89739d27ae8ffc09f73cd2f17415d16c94d42dcb0d571f4eb0ee"
        ),
        "gradio/test_data/cheetah2.jpg": (
            "6882e714aa43d60a429f704a5ddd3af4b3708f89701b3bcc9626121349853795"
        ),
    },
)
_ULTRALYTICS = Carried(
    Wheel(
        "ultralytics==8.4.190",
        "bd309728efa168af64d39040136828edd2dbcb4aeceb4510bdff4f3ca0ea01b8",
    ),
    {
        "ultralytics/assets/bus.jpg": (
            "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63"
        ),
        "ultralytics/assets/zidane.jpg": (
            "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb"
        ),
    },
)
_INSIGHTFACE = Carried(
    Wheel("insightface==2.1", "dcd58ee79d99d689572477315f3149353afd65a36dc575f597cbb217a7bde399"),
    {
        "insightface/data/images/t1.jpg": (
            "47f682e945b659f93a9e490b9c9c4a2a864abe64dace9e1a2893845ddfd69489"
        )
    },
)
_MATPLOTLIB = Carried(
    Wheel(
        "matplotlib==3.11.2",
        "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
        ("--platform", "manylinux2014_x86_64", "--python-version", "3.11"),
    ),
    {
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg": (
            "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130"
        )
    },
)
_FOOLBOX = Carried(
    Wheel("foolbox==3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"),
    {
        f"foolbox/data/imagenet_{name}.jpg": sha256
        for name, sha256 in {
            "00_243": "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
            "01_559": "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
            "02_438": "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
            "03_990": "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
            "04_949": "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
            "05_853": "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
            "06_609": "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
            "07_609": "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
            "08_915": "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
            "09_455": "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
            "10_541": "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
            "11_630": "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
            "12_741": "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
            "13_471": "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
            "14_129": "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
            "15_99": "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
            "16_251": "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
            "17_22": "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
            "18_317": "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
            "19_305": "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
        }.items()
    },
)
_ALIBI = Carried(
    Wheel("alibi==0.9.6", "206416e297f927f6028f3ffcc286b16227a11b26ce99581f533ecf9efdc86a14"),
    {_CATS: "514a8f78b844f9b3576c900c4ba39b7477d81058ddd691ed104c3d4bb90e1b15"},
)

_GCOMPRIS = Package(
    "gcompris-qt-data",
    "3.1-2",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
)
_ACTIVITIES = (
    "categorization",
    "erase",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
    "explore_world_music",
)
# The same photographs, larger, are in explore_monuments.
_TWICE = {
    f"categorization/resource/images/monuments/{name}.webp"
    for name in ("brandenburgGate", "colosseum", "greatPyramid")
}
_LOMIRI = Package(
    "lomiri-wallpapers-16.04",
    "20.04.0-2",
    "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
)


def fetch_photographs() -> list[bytes]:
    """The files, from the cache, the package index or a Debian archive; nothing is installed."""
    advice = "leave out mobilenet-v2 with --networks"
    wheels = (_SKIMAGE, _SKLEARN, _GRADIO, _ULTRALYTICS, _INSIGHTFACE, _MATPLOTLIB, _FOOLBOX)
    paths = [path for carried in wheels for path in fetch_files(carried, advice).values()]
    return [
        *(path.read_bytes() for path in paths),
        *_cats(advice),
        *_of_activities(advice),
        *read_package(_LOMIRI, "usr/share/backgrounds", advice).values(),
    ]


def _cats(advice: str) -> list[bytes]:
    (cats,) = fetch_files(_ALIBI, advice).values()
    with tarfile.open(cats) as archive:
        files = [archive.extractfile(member) for member in archive.getmembers()]
        return [file.read() for file in files if file is not None]


def _of_activities(advice: str) -> list[bytes]:
    """Animals, buildings, tools and instruments that GCompris shows to children."""
    found = []
    resources = read_package(_GCOMPRIS, "usr/share/gcompris-qt/rcc", advice)
    for activity in _ACTIVITIES:
        for path, data in sorted(read_resources(resources[f"{activity}.rcc"]).items()):
            known = path.partition("/activities/")[2] in _TWICE
            if PurePosixPath(path).suffix == ".webp" and not known and _is_large(data):
                found.append(data)
    return found


def _is_large(data: bytes) -> bool:
    return min(Image.open(io.BytesIO(data)).size) >= LEAST_SIDE


def parts(
    pictures: Sequence[bytes], count: int, random: np.random.Generator, size: int = 224
) -> tuple[Pixels, NDArray[np.int64]]:
    """Random parts [count, size, size, 3] of the pictures in turn, from 0 to 1: 60 to 100 % of the
    shorter side, perhaps mirrored; and of which picture each is, [count]."""
    opened = [_open(data) for data in pictures]
    made = np.empty((count, size, size, 3), np.float32)
    groups = np.arange(count) % len(opened)
    for place, group in enumerate(groups):
        image = opened[group]
        side = round(min(image.size) * random.uniform(0.6, 1))
        left, top = (int(random.integers(length - side + 1)) for length in image.size)
        box = (left, top, left + side, top + side)
        part = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box), np.float32)
        made[place] = part[:, ::-1] / 255 if random.random() < 0.5 else part / 255
    return made, groups


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = _ENOUGH / min(image.size)
    return image if scale >= 1 else image.resize([round(scale * length) for length in image.size])
