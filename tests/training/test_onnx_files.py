"""ONNX files of the user: external data in its folder only, and files that are no networks."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.errors import UnusableInput
from training.external_data import EXTERNAL
from training.fold import fold
from training.onnx_files import file_size, read_onnx, write_onnx

RANDOM = np.random.default_rng(0)


def _network(**opsets: int) -> onnx.ModelProto:
    """A convolution and its normalization, with a constant in a node too."""

    def held(name: str, *shape: int) -> TensorProto:
        values = RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    factor = numpy_helper.from_array(RANDOM.normal(size=(1, 300, 1, 1)).astype(np.float32), "f")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"]),
            helper.make_node("BatchNormalization", ["y", "s", "b", "m", "v"], ["z"]),
            helper.make_node("Constant", [], ["c"], value=factor),
            helper.make_node("Mul", ["z", "c"], ["out"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 5, 5])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 300, 3, 3])],
        [held("w", 300, 2, 3, 3), *(held(name, 300) for name in "sbmv")],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    imports = imports or [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def _outside(folder: Path, location: str = "weights.bin") -> tuple[Path, onnx.ModelProto]:
    """The file of a network whose weights are all outside it, and the network."""
    network = _network()
    external = onnx.ModelProto()
    external.CopyFrom(network)
    path = folder / "network.onnx"
    onnx.save(
        external,
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )
    return path, network


def _answer(source: onnx.ModelProto | Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    given = source if isinstance(source, Path) else source.SerializeToString()
    rows = np.random.default_rng(1).normal(size=(2, 2, 5, 5)).astype(np.float32)
    answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    (answer,) = onnxruntime.InferenceSession(given).run(None, {"x": rows})
    return answer


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    path, network = _outside(tmp_path)
    assert path.stat().st_size < 3000
    read = read_onnx(path)
    assert np.array_equal(_answer(read), _answer(network))
    assert {node.op_type for node in fold(read).model.graph.node} == {"Conv", "Constant", "Mul"}


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    path, network = _outside(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "blob")
    (tmp_path / "weights.bin").symlink_to("blob")
    assert np.array_equal(_answer(read_onnx(path)), _answer(network))


def _change(path: Path, key: str, value: str) -> None:
    """Writes something else into the external data of the first weight."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    for entry in list(tensor.external_data):
        if entry.key == key:
            tensor.external_data.remove(entry)
    tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "../weights.bin", r"in a file of the same folder, got '\.\./weights.bin'"),
        ("location", "sub/../../weights.bin", "in a file of the same folder"),
        ("location", "/etc/passwd", "in a file of the same folder, got '/etc/passwd'"),
        ("location", "", "in a file of the same folder, got ''"),
        ("location", "link", "in a file of the same folder, got 'link'"),
        ("location", "dir/weights.bin", "in a file of the same folder"),
        ("location", "none.bin", "expected weights in none.bin, found no such file"),
        ("location", "circle", "expected weights in circle, found no such file"),
        ("location", "folder", "expected weights in folder, found no such file"),
        ("location", "a\0b", "found no such file"),
        ("offset", "100000000", "expected 21,600 bytes, got 21,600 from 100,000,000 of the "),
        ("offset", "-4", "from -4 of the"),
        ("length", "4", "expected 21,600 bytes, got 4 "),
        ("length", "many", "expected numbers as offset and length"),
    ],
)
def test_weights_elsewhere_or_of_another_size_are_refused(
    key: str, value: str, message: str, tmp_path: Path
) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "weights.bin"
    inner.mkdir()
    outer.write_bytes(bytes(100_000))
    path, _ = _outside(inner)
    (inner / "link").symlink_to(outer)
    (inner / "dir").symlink_to(tmp_path)
    (inner / "circle").symlink_to("circle")
    (inner / "folder").mkdir()
    _change(path, key, value)
    with pytest.raises(UnusableInput, match=message) as caught:
        read_onnx(path)
    assert "tensor 'w'" in str(caught.value)


def test_a_constants_node_may_not_lead_out_either(tmp_path: Path) -> None:
    path, _ = _outside(tmp_path)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.node[2].attribute[0].t
    assert tensor.data_location == EXTERNAL
    next(entry for entry in tensor.external_data if entry.key == "location").value = "/etc/passwd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnusableInput, match="tensor 'f': expected weights in a file of the same"):
        read_onnx(path)


def test_a_large_network_is_written_with_its_weights_beside_it(tmp_path: Path) -> None:
    network = _network()
    before = network.SerializeToString()
    path = tmp_path / "large.onnx"
    size = write_onnx(network, path, limit=1000)
    assert sorted(os.listdir(tmp_path)) == ["large.onnx", "large.onnx.data"]
    assert size >= len(before) - 500
    assert network.SerializeToString() == before
    assert path.stat().st_size < 6000
    assert np.array_equal(_answer(path), _answer(network))
    read = read_onnx(path)
    assert np.array_equal(_answer(read), _answer(network))
    assert [tensor.name for tensor in read.graph.initializer] == ["w", *"sbmv"]


def test_a_network_that_fits_is_one_file(tmp_path: Path) -> None:
    write_onnx(_network(), tmp_path / "small.onnx")
    assert os.listdir(tmp_path) == ["small.onnx"]


def test_nothing_stays_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_onnx(_network(), tmp_path / "large.onnx", limit=1000)
    assert os.listdir(tmp_path) == []


def test_a_network_is_never_left_with_the_weights_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step of replacing a pair of files is the last: old, new or nothing is read."""
    path = tmp_path / "large.onnx"
    old, new = _network(), _network()
    new.graph.initializer[0].raw_data = bytes(len(new.graph.initializer[0].raw_data))
    answers = []
    for last in range(4):
        write_onnx(old, path, limit=1000)
        with monkeypatch.context() as patched:
            _fail_after(patched, last)
            with pytest.raises(OSError, match="I/O error"):
                write_onnx(new, path, limit=1000)
        answers.append("old" if path.exists() else "nothing")
        if path.exists():
            assert np.array_equal(_answer(path), _answer(old))
    assert answers == ["old", "old", "nothing", "nothing"]


def test_the_size_of_a_large_file_is_told_without_counting_it() -> None:
    network = _network()
    weight = network.graph.initializer.add(name="unread", data_type=TensorProto.FLOAT)
    weight.dims.append(20_000_000)
    weight.raw_data = bytes(80_000_000)
    assert file_size(network) == pytest.approx(network.ByteSize(), abs=500)


def _fail_after(patched: pytest.MonkeyPatch, last: int) -> None:
    """Lets so many of the calls that make data durable succeed, and fails the next."""
    real, calls = os.fsync, iter(range(last + 1))

    def fsync(descriptor: int) -> None:
        if next(calls) == last:
            raise OSError(5, "I/O error")
        real(descriptor)

    patched.setattr(os, "fsync", fsync)


def _cyclic(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "out"


def _undefined(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _newer(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def _newer_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def _unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Convolve"


def _empty(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def _cut_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"1234"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cyclic, "expected a valid ONNX network: .*topological"),
        (_undefined, "expected a valid ONNX network: "),
        (_newer, "expected opset 1 to .*, got 999"),
        (_newer_ir, "expected IR version .* or older, got 99"),
        (_unknown, "expected a valid ONNX network: .*Convolve"),
        (_empty, "expected an ONNX network, got one without nodes"),
        (_cut_weight, "expected a valid ONNX network: "),
    ],
)
def test_networks_that_are_invalid_are_one_sentence(
    damage: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
) -> None:
    model = _network()
    damage(model)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnusableInput, match=message) as caught:
        read_onnx(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(share: float, tmp_path: Path) -> None:
    data = _network().SerializeToString()
    (tmp_path / "x.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnusableInput, match=r"x\.onnx: expected"):
        read_onnx(tmp_path / "x.onnx")


def test_operators_of_other_domains_are_read_as_they_are(tmp_path: Path) -> None:
    model = _network(**{"": 17, "my.domain": 1})
    model.graph.node[3].domain = "my.domain"
    model.graph.node[3].op_type = "Secret"
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    read = read_onnx(tmp_path / "x.onnx")
    folded = fold(read).model
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Constant", "Secret"]
