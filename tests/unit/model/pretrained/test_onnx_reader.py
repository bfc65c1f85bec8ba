"""ONNX files of published networks: what is refused is named by its layer, and never computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.exceptions import ArtifactError
from model.pretrained import importer
from model.pretrained.specs import BVLC_ALEXNET
from tests.helpers import pretrained_files
from tests.helpers.pretrained_files import SHAPES, random_weights, small


def _turned(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return weights | {"fc7_w_0": np.zeros((16, 32), np.float32)}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"lrn1": {"alpha": 5e-4}}, r"expected lrn1 .*alpha 0.0001.*, got lrn \(size 5, alpha 0.0005"),
        ({"lrn2": {"bias": 2.0}}, "expected lrn2 .*k 1.0.*got .*k 2.0"),
        ({"conv4": {"group": 1}}, "expected conv4 .*groups 2.*got .*groups 1"),
        ({"conv1": {"strides": [2, 2]}}, r"expected conv1 .*strides \(4, 4\).*got .*strides \(2, 2\)"),
        ({"conv3": {"dilations": [2, 2]}}, "auto_pad or dilations"),
        ({"pool5": {"auto_pad": "SAME_UPPER"}}, "a pooling layer with auto_pad or dilations"),
        ({"pool5": {"pads": [0, 0, 0, 0]}}, r"expected pool5 .*pads \(0, 0, 1, 1\)"),
        ({"fc6": {"beta": 0.0}}, r"expected fc6 .*, got linear .*beta 0.0"),
        ({"pool_first": True}, "expected lrn1 .*, got pool"),
        (
            {"weights": _turned(random_weights(SHAPES))},
            r"expected fc7 .*outputs 32, biases 32, inputs 32\), got .*outputs 16, biases 32",
        ),
    ],
)
def test_another_architecture_is_named_by_its_layer(model: dict[str, Any], expected: str, tmp_path: Path) -> None:
    onnx.save(pretrained_files.zoo(**model), str(tmp_path / "net.onnx"))
    with pytest.raises(ArtifactError, match=expected):
        importer.read_file(small(BVLC_ALEXNET), tmp_path / "net.onnx")


def test_a_domain_of_other_operators_may_come_first(tmp_path: Path) -> None:
    """Exporters write such files; that domain's version says nothing about the operators that are read."""
    model = pretrained_files.zoo()
    operators = helper.make_opsetid("", model.opset_import[0].version)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3), operators])
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert importer.read_file(small(BVLC_ALEXNET), tmp_path / "net.onnx") is not None


def test_another_network_is_refused(tmp_path: Path) -> None:
    light = Path(onnx.__file__).parent / "backend/test/data/light"
    with pytest.raises(ArtifactError, match=r"expected conv1 .*to be convolution"):
        importer.read_file(BVLC_ALEXNET, light / "light_zfnet512.onnx")


def test_a_published_file_with_a_loop_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    """The reader computes everything that depends only on constants; a loop of many steps would never end."""
    model = pretrained_files.zoo()
    entries, results = (
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
        ]
        for number, condition in (("n", "go"), ("seen", "goes"))
    )
    nodes = [helper.make_node("Identity", ["n"], ["seen"]), helper.make_node("Identity", ["go"], ["goes"])]
    body = helper.make_graph(nodes, "body", entries, results[::-1])
    model.graph.node.add().CopyFrom(helper.make_node("Loop", ["trips", "always"], ["x"], body=body))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "trips"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ArtifactError, match="has the operator Loop, which may never end"):
        importer.read_file(small(BVLC_ALEXNET), tmp_path / "net.onnx")
