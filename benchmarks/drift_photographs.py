"""Photographs that packages carry, as traffic for a network that was trained on ImageNet."""

import tarfile

from training.packages import LINUX, Carried, Wheel, fetch_files

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
_ALIBI = Carried(
    Wheel("alibi==0.9.6", "206416e297f927f6028f3ffcc286b16227a11b26ce99581f533ecf9efdc86a14"),
    {_CATS: "514a8f78b844f9b3576c900c4ba39b7477d81058ddd691ed104c3d4bb90e1b15"},
)


def fetch_photographs() -> list[bytes]:
    """The files, from the cache or the package index; nothing of a package is installed."""
    advice = "leave out mobilenet-v2 with --networks"
    packages = (_SKIMAGE, _SKLEARN, _GRADIO, _ULTRALYTICS, _INSIGHTFACE, _MATPLOTLIB)
    paths = [path for carried in packages for path in fetch_files(carried, advice).values()]
    (cats,) = fetch_files(_ALIBI, advice).values()
    with tarfile.open(cats) as archive:
        files = [archive.extractfile(member) for member in archive.getmembers()]
        inside = [file.read() for file in files if file is not None]
    return [path.read_bytes() for path in paths] + inside
