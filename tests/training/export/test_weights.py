"""State dicts in all the wrappings that they come in, and what is said of those that do not fit."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training.errors import UnusableInput
from training.export.weights import load_weights

State = dict[str, Tensor]


def _network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network.add_module("head", nn.Linear(4, 2))
    return network


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: {}}}},
    "model": lambda state: {"model": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.1},
    "in one another": lambda state: {"checkpoint": {"model": state}},
    "data parallel": lambda state: _prefixed(state, "module."),
    "compiled": lambda state: _prefixed(state, "_orig_mod."),
    "compiled inside": lambda state: {k.replace("m.", "m._orig_mod."): v for k, v in state.items()},
    "both": lambda state: {"state_dict": _prefixed(state, "module._orig_mod.")},
    "of a trainer": lambda state: {"state_dict": _prefixed(state, "model.")},
    "averaged": lambda state: {"n_averaged": torch.tensor(5)} | _prefixed(state, "module."),
    "one of an average": lambda state: {"model_ema": state, "step": torch.tensor(3)},
    "beside another network": lambda state: {
        "teacher": {"body.weight": torch.ones(3)},
        "student": state,
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
def test_weights_are_found_in_every_wrapping(wrapping: str, old: bool, tmp_path: Path) -> None:
    state = _network(1).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=not old)
    network = _network(0)
    load_weights(network, path)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = _network(1).state_dict()
    save_file(_prefixed(state, "module."), tmp_path / "weights.safetensors")
    network = _network(0)
    load_weights(network, tmp_path / "weights.safetensors")
    assert torch.equal(network.state_dict()["head.weight"], state["head.weight"])


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (
            lambda one, two: {"state_dict": one, "state_dict_ema": two},
            ("state_dict", "state_dict_ema"),
        ),
        (lambda one, two: {"model": one, "ema": {"module": two}}, ("model", "ema.module")),
        (
            lambda one, two: {"state_dict": _prefixed(one, "net.") | _prefixed(two, "net_ema.")},
            ("state_dict.net", "state_dict.net_ema"),
        ),
        (lambda one, two: one | {"ema_state_dict": two}, ("", "ema_state_dict")),
    ],
)
def test_averages_beside_the_weights_are_listed_and_chosen(
    content: Callable[[State, State], object], keys: tuple[str, str], tmp_path: Path
) -> None:
    path, plain, average = tmp_path / "w.pt", _network(1).state_dict(), _network(2).state_dict()
    torch.save(content(plain, average), path)
    with pytest.raises(UnusableInput, match=r"found 2: .*choose with --weights-key") as caught:
        load_weights(_network(), path)
    for key, state in zip(keys, (plain, average), strict=True):
        assert f"'{key}' (9 tensors)" in str(caught.value)
        network = _network()
        load_weights(network, path, key)
        assert torch.equal(network.state_dict()["head.weight"], state["head.weight"])
    with pytest.raises(UnusableInput, match="expected weights under --weights-key no, found '"):
        load_weights(_network(), path, "no")


def test_old_files_have_no_counts_and_none_is_made_up(tmp_path: Path) -> None:
    state = {k: v for k, v in _network(1).state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pt")
    network = _network()
    load_weights(network, tmp_path / "w.pt")
    layer = network.get_submodule("stem.1")
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.num_batches_tracked is None


def test_lazy_networks_take_their_shapes_from_the_weights(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(), tmp_path / "w.pt")
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    load_weights(network, tmp_path / "w.pt")
    assert network(torch.zeros(2, 3, 4, 4)).shape == (2, 4, 2, 2)


def _changed(**changes: Tensor | None) -> State:
    state = dict(_network().state_dict())
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_changed(head__bias=None), r"expected the network's 9 tensors: 1 missing \(head.bias\)$"),
        (_changed(more__bias=torch.ones(2)), r"1 unexpected \(more.bias\)$"),
        (
            _changed(head__weight=torch.ones(3, 4)),
            r"1 mis-shaped \(head.weight \(expected \[2, 4\], got \[3, 4\]\)\)$",
        ),
        (
            {"state_dict": {f"layer.{i}": torch.ones(1) for i in range(5)}},
            r"under 'state_dict': 8 missing \(stem.0.weight, .*, …\); 5 unexpected \(layer.0, ",
        ),
        ({"epoch": 3}, "expected a state dict, found no tensors by name"),
        ([1, 2], "expected a state dict, found no tensors by name"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(
    content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pt")
    network = _network(3)
    before = network.state_dict()["stem.0.weight"].clone()
    with pytest.raises(UnusableInput, match=message):
        load_weights(network, tmp_path / "w.pt")
    assert torch.equal(network.state_dict()["stem.0.weight"], before)


class _Evil:
    """Runs a function of its choice when it is unpickled as pickles are."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("was_run"),)  # type: ignore[return-value]


def test_pickles_that_would_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _network().state_dict(), "args": _Evil()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Evil()))
    torch.save(_network(), tmp_path / "module.pth")
    for name in ("zip.pth", "plain.pth", "module.pth"):
        with pytest.raises(UnusableInput, match=r"expected .*weights") as caught:
            load_weights(_network(), tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("data", [b"", b"no weights at all", b"PK\x03\x04" + bytes(50), bytes(200)])
def test_files_of_something_else_are_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnusableInput, match=f"{name}: expected "):
        load_weights(_network(), tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"w\.pt: expected a file of weights, found none"):
        load_weights(_network(), tmp_path / "w.pt")
