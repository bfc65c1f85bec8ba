"""The public contract of the HTTP interface: every answer's fields, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.artifacts.history import History


class Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelRef(Schema):
    """Which network answered."""

    name: Annotated[str, Field(examples=["elpv"])]
    version: Annotated[int, Field(examples=[1])]


class ImageInfo(Schema):
    """How the image was read: as the file has it, before it was turned upright and cut to the central square."""

    format: Annotated[str, Field(examples=["PNG"])]
    width: Annotated[int, Field(examples=[300])]
    height: Annotated[int, Field(examples=[300])]
    mode: Annotated[str, Field(description="The file's pixel mode.", examples=["L"])]
    orientation: Annotated[int, Field(description="EXIF orientation that was applied; 1 is upright.", examples=[1])]
    frames_ignored: Annotated[bool, Field(description="The file is animated; its first frame was used.")]


class Prediction(Schema):
    """One class and its probability."""

    class_: Annotated[int, Field(alias="class", description="Position in the network's output.", examples=[3])]
    id: Annotated[str, Field(examples=["mono-100"])]
    name: Annotated[str, Field(examples=["mono, defect 100 %"])]
    probability: Annotated[float, Field(ge=0, le=1, examples=[0.93])]


class ClassifyAnswer(Schema):
    """The most probable classes, most probable first."""

    model: ModelRef
    image: ImageInfo
    predictions: list[Prediction]


class CodesRef(Schema):
    """The binary codes of an index."""

    coder: Annotated[str, Field(examples=["autoencoder"])]
    bits: Annotated[int, Field(examples=[128])]


class IndexRef(Schema):
    """Which index was searched."""

    size: Annotated[int, Field(examples=[2624])]
    codes: Annotated[CodesRef | None, Field(description="For `search=binary`; null where there are none.")]


class NeighborInfo(Schema):
    """One image of the index."""

    id: Annotated[int, Field(examples=[17])]
    distance: Annotated[float, Field(description="Euclidean, of the 4096-d features; 0: the same image.")]
    label: Annotated[str | None, Field(examples=["mono, defect 100 %"])]
    url: Annotated[str, Field(examples=["/images/17"])]
    thumbnail: Annotated[str, Field(examples=["/images/17/thumbnail"])]


class SimilarAnswer(Schema):
    """The nearest images, nearest first, ties by id."""

    model: ModelRef
    index: IndexRef
    image: ImageInfo | None
    neighbors: list[NeighborInfo]


class IndexedImage(Schema):
    """An indexed image."""

    id: int
    key: Annotated[str | None, Field(description="The name that was given with it.")]
    label: str | None
    format: str
    width: int
    height: int
    image: Annotated[str | None, Field(description="The original file, while it stays where it was indexed.")]
    thumbnail: str
    similar: str


class ImageList(Schema):
    """One page of the index, by id."""

    index: IndexRef
    images: list[IndexedImage]
    next: Annotated[int | None, Field(description="`cursor` of the next page; null on the last one.")]


class LabelCount(Schema):
    label: str
    images: int


class Labels(Schema):
    labels: list[LabelCount]


class ImageChange(Schema):
    """What is to be changed; what isn't named stays."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    label: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    removed: Literal[False] | None = None


class AddedImage(Schema):
    """The same bytes have the same id."""

    id: int
    status: Annotated[Literal["added", "exists", "restored"], Field(examples=["added"])]
    url: Annotated[str, Field(examples=["/images/17"])]


class ServiceInfo(Schema):
    """What is loaded, for people and the page."""

    model: ModelRef
    classes: int
    device: Annotated[str, Field(description="What the network really runs on.", examples=["cpu"])]
    precision: Annotated[str, Field(description="Of its numbers.", examples=["float32"])]
    index: IndexRef | None
    measurements: list[dict[str, object]]
    license: str
    created: datetime
    parameters: int
    towers: Annotated[int, Field(description="Halves of the network that were apart on two GPUs.", examples=[2])]
    training: Annotated[dict[str, object], Field(description="How it came about: its data, recipe and commit.")]


class HistoryAnswer(Schema):
    """How the network that is served came about."""

    classes: list[str]
    history: Annotated[History | None, Field(description="Null where the artifact carries none.")]


class Health(Schema):
    status: Annotated[str, Field(examples=["ready"])]


class ErrorDetail(Schema):
    code: Annotated[str, Field(examples=["invalid_image"])]
    message: Annotated[str, Field(examples=["expected a whole image, found 12 bytes that can't be decoded"])]
    request_id: str


class ProtocolError(Schema):
    """The Open Inference Protocol's form of an error, under /v2."""

    error: str


class ErrorAnswer(Schema):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


class AddAnswer(Schema):
    """What became of each image, in their order."""

    index: IndexRef
    images: list[AddedImage | ErrorAnswer]
