"""Refused: ONNX files that never end or read other files, before they are loaded, and networks that answer NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import ArtifactError
from model.graph_check import MAX_BYTES_BESIDE_WEIGHTS, MAX_FIELDS, check_graph
from model.images.crops import CENTER_CROP
from model.runtime import OnnxModel

IMAGE = np.zeros((1, 256, 256, 3), np.uint8)


def make_model(nodes: Sequence[NodeProto] = (), tensors: Sequence[TensorProto] = ()) -> onnx.ModelProto:
    """A network that returns two probabilities of 1/2 and three features of 1, plus the tensor `w` if there is one."""
    add = any(tensor.name == "w" for tensor in tensors)
    constants = [
        numpy_helper.from_array(np.full(n, v, np.float32), name) for n, v, name in ((2, 0.5, "p"), (3, 1, "f"))
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("probabilities", 2), ("features", 3))
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 256, 256, 3]),
        helper.make_tensor_value_info("crops", TensorProto.INT64, ["C"]),
    ]
    constants += [numpy_helper.from_array(np.array([1, -1]), "shape"), *tensors]
    ends = [
        helper.make_node("Add" if add else "Identity", [name, *(["w"] if add else [])], [f"{name}_row"])
        for name in "pf"
    ]
    ends += [helper.make_node("Reshape", [f"{name[0]}_row", "shape"], [name]) for name in ("probabilities", "features")]
    graph = helper.make_graph([*nodes, *ends], "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([1])
    tensor.external_data.add(key="location", value="w.bin")
    return tensor


def loop(op: str) -> NodeProto:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    return helper.make_node(op, ["trips", "condition"], ["x"], body=body)


def within_if(node: NodeProto) -> NodeProto:
    branch = helper.make_graph([node], "branch", [], [])
    return helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(4))
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    return folder / "network.onnx"


def test_our_own_networks_pass(artifact: Artifact) -> None:
    assert "If" in {node.op_type for node in onnx.load(str(artifact.network_path)).graph.node}
    check_graph(artifact.network_path)


@pytest.mark.parametrize("op", ["Loop", "Scan", "SequenceMap"])
def test_loops_are_refused_wherever_they_are(tmp_path: Path, op: str) -> None:
    for node in (loop(op), within_if(loop(op)), within_if(within_if(loop(op)))):
        path = save(make_model([node]), tmp_path)
        for load in (OnnxModel, Encoder):
            with pytest.raises(ArtifactError, match=f"has the operator {op}, which may never end"):
                load(path)


def test_functions_foreign_operators_and_deep_graphs_are_refused(tmp_path: Path) -> None:
    model = make_model()
    model.functions.append(onnx.FunctionProto(name="f", domain="d"))
    node = loop("Identity")
    for _ in range(4):
        node = within_if(node)
    for bad, message in (
        (model, "defines functions of its own"),
        (
            make_model([helper.make_node("BeamSearch", ["x"], ["y"], domain="com.microsoft")]),
            "outside the domain ai.onnx",
        ),
        (make_model([node]), "graphs nested too deeply"),
    ):
        with pytest.raises(ArtifactError, match=message):
            OnnxModel(save(bad, tmp_path))


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["x"], value=external())
    sparse = make_model()
    sparse.graph.sparse_initializer.add().values.CopyFrom(external())
    for model in (make_model(tensors=[external()]), make_model([constant]), make_model([within_if(constant)]), sparse):
        with pytest.raises(ArtifactError, match="keeps weights in another file"):
            OnnxModel(save(model, tmp_path))


def test_much_besides_weights_is_refused(tmp_path: Path) -> None:
    """Loading a text of 300 MB took a gigabyte. Weights may be large."""
    weights = numpy_helper.from_array(np.zeros(MAX_BYTES_BESIDE_WEIGHTS // 4 + 1, np.float32), "large")
    check_graph(save(make_model(tensors=[weights]), tmp_path))
    text = b"x" * MAX_BYTES_BESIDE_WEIGHTS
    in_model, in_tensor, as_text = make_model(), make_model(tensors=[weights]), make_model()
    in_model.doc_string = in_tensor.graph.initializer[-1].doc_string = text.decode()
    as_text.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[text]))
    for model in (in_model, in_tensor, as_text):
        with pytest.raises(ArtifactError, match="bytes besides its weights: at most 4,194,304 are allowed"):
            OnnxModel(save(model, tmp_path))
    (tmp_path / "network.onnx").write_bytes(b"\x08\x01" * (MAX_FIELDS + 1))
    with pytest.raises(ArtifactError, match="more than 200,000 parts"):
        OnnxModel(tmp_path / "network.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf, -5, 5])
def test_answers_that_are_no_probabilities_are_refused(tmp_path: Path, value: float) -> None:
    assert OnnxModel(save(make_model(), tmp_path)).run(IMAGE, CENTER_CROP)[0].tolist() == [[0.5, 0.5]]
    tensor = numpy_helper.from_array(np.array([value], np.float32), "w")
    model = OnnxModel(save(make_model(tensors=[tensor]), tmp_path), "cpu")
    with pytest.raises(ArtifactError, match=r"outputs (invalid probabilities|features that are not finite)"):
        model.run(IMAGE, CENTER_CROP)
    if not np.isfinite(value):
        with pytest.raises(ArtifactError, match="outputs features that are not finite"):
            model.features(IMAGE, CENTER_CROP)


def replace_type(value: onnx.ValueInfoProto, kind: int, shape: Sequence[int | str]) -> None:
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))


def give_any_number_of_classes(graph: onnx.GraphProto) -> None:
    graph.node[-2].input[1] = "crops"
    replace_type(graph.output[0], TensorProto.FLOAT, ["N", "K"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.input.pop(), "expected inputs .*'crops'.*, got 'images' "),
        (
            lambda graph: replace_type(graph.input[0], TensorProto.FLOAT, ["N", 256, 256, 3]),
            r"got .*tensor\(float\) with 4",
        ),
        (lambda graph: replace_type(graph.input[1], TensorProto.INT64, ["C", 1]), r"got .*tensor\(int64\) with 2"),
        (lambda graph: graph.output.pop(), "expected outputs .*, got 'probabilities' "),
        (give_any_number_of_classes, "doesn't say how many classes"),
    ],
    ids=["an input less", "float images", "a table of crops", "an output less", "any number of classes"],
)
def test_a_graph_of_other_inputs_and_outputs_is_refused(
    tmp_path: Path, change: Callable[[onnx.GraphProto], object], message: str
) -> None:
    model = make_model()
    change(model.graph)
    with pytest.raises(ArtifactError, match=message):
        OnnxModel(save(model, tmp_path), "cpu")


def test_a_graph_that_gives_one_answer_for_all_images_is_refused(tmp_path: Path) -> None:
    model = OnnxModel(save(make_model(), tmp_path), "cpu")
    for compute in (model.run, model.features):
        with pytest.raises(ArtifactError, match="outputs results for the wrong number of images"):
            compute(np.repeat(IMAGE, 3, 0), CENTER_CROP)


@pytest.mark.parametrize(
    ("name", "kind", "size", "bits"),
    [
        ("x", TensorProto.UINT8, 4, "28"),
        ("features", TensorProto.FLOAT, 4, "28"),
        ("features", TensorProto.UINT8, 7, "28"),
        ("features", TensorProto.UINT8, 4, "1000000000"),
        ("features", TensorProto.UINT8, 0, "0"),
    ],
)
def test_an_encoder_of_other_inputs_and_outputs_is_refused(
    tmp_path: Path, name: str, kind: int, size: int, bits: str
) -> None:
    def make(name: str, kind: int, size: int, bits: str) -> Path:
        entry = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8])
        code = helper.make_tensor_value_info("code", kind, ["N", size])
        constant = helper.make_tensor("zeros", kind, [1, size], [0] * size)
        graph = helper.make_graph([helper.make_node("Identity", ["zeros"], ["code"])], "g", [entry], [code], [constant])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {"coder": "zeros", "bits": bits})
        return save(model, tmp_path)

    encoder = Encoder(make("features", TensorProto.UINT8, 4, "28"))
    assert encoder.encode(np.zeros((1, 8), np.float32)).tolist() == [[0, 0, 0, 0]]
    with pytest.raises(ArtifactError, match="outputs codes of the wrong shape"):
        encoder.encode(np.zeros((2, 8), np.float32))
    with pytest.raises(ArtifactError, match="isn't an encoder of binary codes"):
        Encoder(make(name, kind, size, bits))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    content = make_model([within_if(loop("Identity"))]).SerializeToString()
    path = tmp_path / "network.onnx"
    for damaged in (b"", b"no network", content[:-1], b"\x38" + content[1:], b"\x0f", b"\xff" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            OnnxModel(path)
    with pytest.raises(ArtifactError, match="can't read"):
        OnnxModel(tmp_path / "none.onnx")
