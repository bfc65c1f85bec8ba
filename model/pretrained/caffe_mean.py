"""Caffe's mean images: a `.binaryproto` as `compute_image_mean` writes it, or the same as a `.npy` array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from model.exceptions import ArtifactError
from model.images.contract import IMAGE_SIZE
from model.pretrained.specs import Array


def read_mean(path: Path) -> Array:
    """The mean image (256, 256, 3), RGB of 0..255; in the file it is (3, 256, 256) in BGR. Raises ArtifactError."""
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_blob(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"can't read the mean image {path}: {error.strerror or error}") from error
    except Exception as error:  # numpy and zipfile also pass on errors of Python's parser
        raise ArtifactError(f"{path} isn't a mean image: give Caffe's .binaryproto, or a .npy array") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ArtifactError(f"{path} isn't a mean image: it isn't an array of real numbers")
    expected = (3, IMAGE_SIZE, IMAGE_SIZE)
    values = values[0] if values.ndim == 4 and len(values) == 1 else values
    if values.shape != expected:
        raise ArtifactError(f"expected a mean image of shape {expected} in {path}, got {values.shape}")
    image = np.ascontiguousarray(values[::-1].transpose(1, 2, 0), np.float32)
    if not ((image >= 0) & (image <= 255)).all():
        raise ArtifactError(f"{path} isn't a mean image: it has values outside of 0 to 255")
    return image


def _read_blob(content: bytes) -> Array:
    """The values of a BlobProto. Raises DecodeError, ValueError."""
    blob = _blob_message()
    blob.ParseFromString(content)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    return np.array(blob.data, np.float32).reshape(shape)


def _blob_message() -> Message:
    """An empty BlobProto, with the fields of caffe.proto that a mean image has."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="blob.proto", package="caffe")
    shape = file.message_type.add(name="BlobShape")
    shape.field.add(name="dim", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_REPEATED)
    blob = file.message_type.add(name="BlobProto")
    for number, name in enumerate(("num", "channels", "height", "width"), 1):
        blob.field.add(name=name, number=number, type=kinds.TYPE_INT32, label=kinds.LABEL_OPTIONAL)
    blob.field.add(name="data", number=5, type=kinds.TYPE_FLOAT, label=kinds.LABEL_REPEATED)
    blob.field.add(
        name="shape", number=7, type=kinds.TYPE_MESSAGE, type_name=".caffe.BlobShape", label=kinds.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message: Message = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.BlobProto"))()
    return message
