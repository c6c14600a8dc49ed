"""The servers beside which ours is measured, in the settings that were best somewhere."""

from dataclasses import dataclass
from pathlib import Path

V2 = "/v2/models/{model}/infer"


@dataclass(frozen=True, eq=False)
class Peer:
    """A server in one setting: the arguments of its script after network and port, and the kind of
    request file (`serving_networks`) for each form of tensors that it takes."""

    name: str
    setting: str
    script: str
    path: str
    forms: dict[str, str]
    arguments: tuple[str, ...] = ()
    sleeps: bool = True  # whether it survives being stopped for minutes

    def command(self, python: str, network: Path, port: int) -> list[str]:
        """What starts it; ours finds its bundles beside the network."""
        if self.script == "-m service":
            models = str(network.with_name("models"))
            return [python, "-m", "service", "--models", models, "--port", str(port)]
        script = str(Path(__file__).with_name(self.script))
        return [python, script, str(network), str(port), *self.arguments]


def _mosec(form: str, workers: int, batch: int) -> Peer:
    kind, short = ("plain", "json") if form == "JSON" else ("raw", "binary")
    arguments = (short, str(workers), str(batch))
    setting = _setting(workers, batch)
    return Peer(
        "mosec", setting, "serving_mosec.py", "/inference", {form: kind}, arguments, sleeps=False
    )


def _litserve(workers: int, batch: int) -> Peer:
    arguments, setting = (str(workers), str(batch)), _setting(workers, batch)
    return Peer(
        "LitServe", setting, "serving_litserve.py", "/predict", {"JSON": "plain"}, arguments
    )


def _triton(instances: int) -> Peer:
    arguments, setting = (str(instances),), _setting(instances, 64)
    return Peer("Triton", setting, "serving_triton.py", V2, _BOTH, arguments, sleeps=False)


def _setting(workers: int, batch: int) -> str:
    return f"{workers} × {'no batches' if batch == 1 else f'batches of {batch}'}"


_BOTH = {"JSON": "json", "binary": "bin"}
OURS = Peer("foldserve", "as it comes", "-m service", V2, _BOTH)
PEERS = (
    Peer("FastAPI", "tutorial", "serving_fastapi.py", "/predict", {"JSON": "plain"}),
    _litserve(1, 32),
    *(_mosec(form, *how) for form in ("JSON", "binary") for how in ((1, 1), (1, 32), (2, 1))),
    _triton(2),
    Peer(
        "uvicorn", "answers nothing", "serving_nothing.py", "/", {"JSON": "plain", "binary": "raw"}
    ),
)
