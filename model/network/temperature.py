"""The temperature of a served graph: one number by which the logits are divided before the softmax.

Guo et al. 2017, "On Calibration of Modern Neural Networks". Above 1 it makes probabilities less extreme, below 1 more
extreme. It doesn't change the ranking of the classes for a crop. `training.evaluation.calibration` fits it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.exceptions import ArtifactError
from model.network.onnx_builder import constants
from model.runtime import SCALED_LOGITS

TEMPERATURE = "temperature"
"""Name of the constant in the graph. The node that divides by it is called `SCALED_LOGITS`."""


def read_temperature(network: Path) -> float:
    """The temperature of an ONNX file. Raises ArtifactError if its graph has none."""
    return float(numpy_helper.to_array(_find_constant(onnx.load(str(network)), network)))


def write_temperature(network: Path, temperature: float) -> None:
    """Replace the temperature of an ONNX file; nothing else in it changes. Raises ArtifactError."""
    model = onnx.load(str(network))
    value = np.array(temperature, np.float32)
    _find_constant(model, network).CopyFrom(numpy_helper.from_array(value, TEMPERATURE))
    onnx.save(model, str(network))


def write_with_logits(network: Path, target: Path) -> None:
    """Write a copy of a network with one more output, the logits divided by the temperature (N * C, num_classes).

    The copy is for fitting and measuring; it is not served. Raises ArtifactError.
    """
    model = onnx.load(str(network))
    _find_constant(model, network)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model.graph.output.append(helper.make_tensor_value_info(SCALED_LOGITS, TensorProto.FLOAT, [None, classes]))
    onnx.save(model, str(target))


def _find_constant(model: onnx.ModelProto, network: Path) -> onnx.TensorProto:
    try:
        (constant,) = constants(model)[TEMPERATURE]
    except KeyError:
        raise ArtifactError(f"{network} has no temperature: train or pull it again") from None
    return constant
