"""The servers beside which ours is measured, in the settings that are best for each load."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path

V2 = "/v2/models/{model}/infer"
_BOTH = {"JSON": "json", "binary": "bin"}  # our protocol, which Triton speaks, too
_PLAIN = {"JSON": "plain", "binary": "raw"}


class Load(Flag):
    """What a setting is for: a small or a large network, one client or several."""

    LONE = auto()
    CROWD = auto()
    LARGE_LONE = auto()
    LARGE_CROWD = auto()
    SMALL = LONE | CROWD
    ANY = LONE | CROWD | LARGE_LONE | LARGE_CROWD

    @classmethod
    def of(cls, large: bool, clients: int) -> "Load":
        """The load that so many clients are."""
        if large:
            return cls.LARGE_LONE if clients == 1 else cls.LARGE_CROWD
        return cls.LONE if clients == 1 else cls.CROWD


@dataclass(frozen=True, eq=False)
class Peer:
    """A server in one setting: the arguments of its script after network and port, the kind of
    request file (`serving_networks`) for each form of tensors that it is measured with, and the
    package whose version counts. Settings with the same command share one process."""

    name: str
    setting: str
    script: str
    path: str
    forms: dict[str, str]
    arguments: tuple[str, ...] = ()
    loads: Load = Load.ANY
    package: str = ""
    rival: bool = True  # whether ours is held against it
    answers: bool = True  # with scores
    sleeps: bool = True  # whether it survives being stopped for minutes

    def command(self, python: str, network: Path, port: int) -> tuple[str, ...]:
        """What starts it; ours finds its bundles beside the network."""
        if self.script == "-m service":
            models = str(network.with_name("models"))
            start = (python, "-m", "service", "--models", models, "--port", str(port))
            return (*start, *self.arguments)
        script = str(Path(__file__).with_name(self.script))
        return (python, script, str(network), str(port), *self.arguments)


# Batching is off where it costs: for one client, and for a network that is computed for longer
# than batches save, where two runs of one thread beside each other answer more.
_LONE = (Load.LONE | Load.LARGE_LONE, 1, 1)
_CROWD = (Load.CROWD, 1, 32)
_PAIR = (Load.LARGE_CROWD, 2, 1)
_UNBATCHED = (Load.SMALL | Load.LARGE_LONE, 1, 1)


def _setting(workers: int, batch: int) -> str:
    return f"{workers} × {'no batches' if batch == 1 else f'batches of {batch}'}"


def _litserve() -> Iterator[Peer]:
    for loads, *how in (_LONE, _CROWD, _PAIR):
        for form, kind in _PLAIN.items():
            arguments = (form.lower(), *map(str, how))
            path, script = "/predict", "serving_litserve.py"
            forms = {form: kind}
            yield Peer(
                "LitServe", _setting(*how), script, path, forms, arguments, loads, "litserve"
            )


def _bentoml() -> Iterator[Peer]:
    script, package = "serving_bentoml.py", "bentoml"
    for loads, *how in (_UNBATCHED, _CROWD, _PAIR):
        named, arguments = ("BentoML", _setting(*how), script), tuple(map(str, how))
        yield Peer(*named, "/predict", {"JSON": "plain"}, arguments, loads, package)
        if how[1] == 1:  # its batches are of its typed endpoint
            yield Peer(*named, "/raw/", {"binary": "raw"}, arguments, loads, package)


def _mlserver() -> Iterator[Peer]:
    for loads, *how in (_UNBATCHED, _CROWD, _PAIR):
        named = ("MLServer", _setting(*how), "serving_mlserver.py")
        yield Peer(*named, V2, {"JSON": "json"}, tuple(map(str, how)), loads, "mlserver")


def _torchserve() -> Iterator[Peer]:
    for loads, *how in (_LONE, _CROWD, _PAIR):
        named = ("TorchServe", _setting(*how), "serving_torchserve.py", "/predictions/{model}")
        yield Peer(*named, _PLAIN, tuple(map(str, how)), loads, "torchserve")


def _triton() -> Iterator[Peer]:
    crowd = (Load.CROWD, 2, 64)
    for loads, *how in (_LONE, crowd, _PAIR):
        named = ("Triton", _setting(*how), "serving_triton.py")
        arguments = tuple(map(str, how))
        # stopped for 10 s, it ends: its backend waits for locks with a time limit
        yield Peer(*named, V2, _BOTH, arguments, loads, "nvidia-pytriton", sleeps=False)


def _ray() -> Iterator[Peer]:
    for loads, path, setting in (
        (_LONE[0], "/alone", _setting(1, 1)),
        (Load.CROWD, "/batches", _setting(1, 32)),
        (Load.LARGE_CROWD, "/pair", _setting(2, 1)),
    ):
        yield Peer("Ray Serve", setting, "serving_ray.py", path, _PLAIN, (), loads, "ray")


def _mosec() -> Iterator[Peer]:
    for loads, *how in (_LONE, _CROWD, _PAIR):
        for form, kind in _PLAIN.items():
            named = ("mosec", _setting(*how), "serving_mosec.py", "/inference", {form: kind})
            yield Peer(*named, (form.lower(), *map(str, how)), loads, "mosec")


def _nothing(workers: int) -> Peer:
    setting = f"answers nothing, {workers} worker{'s' * (workers > 1)}"
    named = ("uvicorn", setting, "serving_nothing.py", "/", _PLAIN, (str(workers),))
    return Peer(*named, package="uvicorn", rival=False, answers=False)


OURS = Peer("foldserve", "as it comes", "-m service", V2, _BOTH)
OURS_TWICE = Peer(
    "foldserve, 2 workers",
    "as it comes",
    "-m service",
    V2,
    _BOTH,
    ("--workers", "2"),
    Load.CROWD | Load.LARGE_CROWD,
    rival=False,
)
PEERS = (
    Peer(
        "FastAPI",
        "tutorial",
        "serving_fastapi.py",
        "/predict",
        {"JSON": "plain"},
        package="fastapi",
    ),
    *_litserve(),
    *_bentoml(),
    *_mlserver(),
    *_triton(),
    *_torchserve(),
    *_ray(),
    *_mosec(),
    _nothing(1),
    _nothing(2),
)
NAMES = tuple(dict.fromkeys(peer.name for peer in PEERS))
