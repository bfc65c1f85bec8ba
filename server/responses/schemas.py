"""Schemas of the HTTP interface: the fields of every response, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from index.entries import AddResult, AddStatus, Entry
from index.protocol import Index, SupportsCodes
from index.search import Neighbor
from model.artifacts.artifact import Artifact, Label
from model.artifacts.familiarity import MIN_HELD_OUT, UNFAMILIAR_QUANTILE
from model.artifacts.history import TrainingHistory
from model.images.info import DecodedImage, WarningKind
from server.parameters import MAX_SELECTED, LookupLabel, StoredId, StoredLabel, StoredText


class Schema(BaseModel):
    """Base of the schemas."""

    model_config = ConfigDict(frozen=True)


class ModelRef(Schema):
    """Name and version of a model."""

    name: Annotated[str, Field(examples=["elpv"])]
    version: Annotated[int, Field(examples=[1])]

    @classmethod
    def of(cls, artifact: Artifact) -> ModelRef:
        return cls(name=artifact.manifest.name, version=artifact.manifest.version)


class ImageWarningInfo(Schema):
    """Something that was guessed, converted or left out while the image was read."""

    kind: Annotated[WarningKind, Field(examples=["stretched"])]
    message: Annotated[str, Field(examples=["only the lowest 12 of its 16 bits are used: 4,095 was read as white"])]


class ImageInfo(Schema):
    """The image file, before it was turned upright and cropped."""

    format: Annotated[str, Field(examples=["PNG"])]
    width: Annotated[int, Field(examples=[300])]
    height: Annotated[int, Field(examples=[300])]
    mode: Annotated[str, Field(description="Pixel mode of the file.", examples=["L"])]
    orientation: Annotated[int, Field(description="EXIF orientation that was applied; 1: upright.", examples=[1])]
    frames_ignored: Annotated[bool, Field(description="The file contains several images, only one of which was used.")]
    warnings: list[ImageWarningInfo]

    @classmethod
    def of(cls, image: DecodedImage) -> ImageInfo:
        return cls(
            format=image.info.format,
            width=image.info.width,
            height=image.info.height,
            mode=image.info.mode,
            orientation=image.info.orientation,
            frames_ignored=image.info.frames_ignored,
            warnings=[ImageWarningInfo(kind=warning.kind, message=warning.message) for warning in image.info.warnings],
        )


class ClassRef(Schema):
    """A class of the network."""

    index: Annotated[int, Field(description="Index of the class in the network's output.", examples=[3])]
    id: Annotated[str, Field(description="Id of the class in the data set.", examples=["mono-100"])]
    name: Annotated[str, Field(examples=["mono, defect 100 %"])]

    @classmethod
    def of(cls, index: int, label: Label) -> ClassRef:
        return cls(index=index, id=label.id, name=label.name)


class Prediction(ClassRef):
    """One class and its probability."""

    probability: Annotated[float, Field(ge=0, le=1, examples=[0.93])]


class ClassifyResponse(Schema):
    """The most probable classes, most probable first."""

    model: ModelRef
    image: ImageInfo
    predictions: list[Prediction]
    familiarity: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="The share of held-out images that are less like the training images than this one, however "
            "few they are; null if the artifact has no familiarity data.",
            examples=[0.41],
        ),
    ]
    familiar: Annotated[
        bool | None,
        Field(
            description=f"False if `familiarity` is below {UNFAMILIAR_QUANTILE:g}: the image is unlike anything the "
            "network was trained on, and the classes are guesses. Null if the artifact has no familiarity data, or was "
            f"calibrated on fewer than {MIN_HELD_OUT} images.",
            examples=[True],
        ),
    ]


class FeaturesResponse(Schema):
    """The features of an image."""

    model: ModelRef
    image: ImageInfo
    features: Annotated[
        list[float],
        Field(
            description="Activations of the last hidden layer: 4096, unless the network was trained with another "
            "number of hidden neurons."
        ),
    ]


class CodesRef(Schema):
    """The binary codes of an index."""

    coder: Annotated[str, Field(examples=["autoencoder"])]
    bits: Annotated[int, Field(examples=[128])]


class IndexRef(Schema):
    """Size of an index, and its binary codes."""

    size: Annotated[int, Field(examples=[2624])]
    codes: Annotated[CodesRef | None, Field(description="Null if the index has none.")]

    @classmethod
    def of(cls, index: Index, size: int | None = None) -> IndexRef:
        """`size`: pass it if it is known already; otherwise a database is asked for it."""
        encoder = index.encoder if isinstance(index, SupportsCodes) else None
        ref = None if encoder is None else CodesRef(coder=encoder.coder, bits=encoder.bits)
        return cls(size=len(index) if size is None else size, codes=ref)


ImageKey = Annotated[str | None, Field(description="The name that the caller gave it.", examples=["cell 17"])]
FileName = Annotated[
    str | None, Field(description="Name of its file; null for an uploaded image.", examples=["cell0017.png"])
]
FilePath = Annotated[
    str | None, Field(description="Path of its file on the server; null unless the API key has the scope admin.")
]
Total = Annotated[int, Field(description="Number of images in the index, or with the label.", examples=[2624])]
HasMore = Annotated[bool, Field(description="Whether there is another page.")]


class AttributionInfo(Schema):
    """The origin of an image; null where it isn't known. Show it wherever you show the image."""

    author: Annotated[str | None, Field(examples=["Charlie Jackson"])]
    author_page: Annotated[
        str | None, Field(description="Web address.", examples=["https://www.flickr.com/people/chaz_pics/"])
    ]
    page: Annotated[
        str | None,
        Field(
            description="Web address of the image.",
            examples=["https://www.flickr.com/photos/27305106@N06/29256709000"],
        ),
    ]
    license: Annotated[str | None, Field(examples=["CC BY 2.0"])]

    @classmethod
    def of(cls, entry: Entry) -> AttributionInfo | None:
        return None if entry.attribution is None else cls(**entry.attribution._asdict())


OptionalAttribution = Annotated[AttributionInfo | None, Field(description="Null if it isn't known.")]


class NeighborInfo(Schema):
    """An indexed image and its distance from the query."""

    id: Annotated[int, Field(examples=[17])]
    key: ImageKey
    file: FileName
    path: FilePath
    distance: Annotated[float, Field(description="Euclidean distance between the features; 0: the same image.")]
    similarity: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="1 / (1 + distance / norm of the query's feature): 1 for the same image, 0.5 where distance "
            "and norm are equal, toward 0 beyond. It ranks like the distance and is not a probability.",
        ),
    ]
    label: Annotated[str | None, Field(examples=["mono, defect 100 %"])]
    attribution: OptionalAttribution
    url: Annotated[str, Field(examples=["/images/17"])]
    thumbnail: Annotated[str, Field(examples=["/images/17/thumbnail"])]

    @classmethod
    def of(cls, neighbor: Neighbor, feature_length: float, show_path: bool, prefix: str) -> NeighborInfo:
        """`feature_length`: Euclidean length of the query's feature. `prefix`: the proxy's path prefix."""
        entry, url = neighbor.entry, f"{prefix}/images/{neighbor.entry.id}"
        return cls(
            id=entry.id,
            key=entry.key,
            file=entry.source.name if entry.source else None,
            path=str(entry.source) if entry.source and show_path else None,
            distance=neighbor.distance,
            similarity=similarity(neighbor.distance, feature_length),
            label=entry.label,
            attribution=AttributionInfo.of(entry),
            url=url,
            thumbnail=f"{url}/thumbnail",
        )


def similarity(distance: float, feature_length: float) -> float:
    """A score from 0 to 1 that doesn't depend on the scale of a network's features."""
    if distance == 0:
        return 1.0
    return feature_length / (feature_length + distance)


class SimilarResponse(Schema):
    """One page of the nearest images, nearest first, ties ordered by id."""

    model: ModelRef
    index: IndexRef
    image: ImageInfo | None
    neighbors: list[NeighborInfo]
    total: Total
    has_more: HasMore
    next_cursor: Annotated[
        str | None,
        Field(
            description="`cursor` of the next page, for the same query; null on the last. No neighbor is repeated or "
            "skipped because images are added or removed meanwhile."
        ),
    ]


class IndexedImage(Schema):
    """An indexed image."""

    id: int
    key: ImageKey
    file: FileName
    path: FilePath
    label: str | None
    format: str
    width: int
    height: int
    attribution: OptionalAttribution
    image: Annotated[str | None, Field(description="The original file; null for an uploaded image.")]
    thumbnail: str
    similar: str

    @classmethod
    def of(cls, entry: Entry, show_path: bool, prefix: str) -> IndexedImage:
        """`prefix`: the proxy's path prefix."""
        url = f"{prefix}/images/{entry.id}"
        return cls(
            id=entry.id,
            key=entry.key,
            file=entry.source.name if entry.source else None,
            path=str(entry.source) if entry.source and show_path else None,
            label=entry.label,
            format=entry.format,
            width=entry.width,
            height=entry.height,
            attribution=AttributionInfo.of(entry),
            image=f"{url}/image" if entry.source else None,
            thumbnail=f"{url}/thumbnail",
            similar=f"{url}/similar",
        )


class ImagesResponse(Schema):
    """One page of the index, ordered by id."""

    index: IndexRef
    images: list[IndexedImage]
    total: Annotated[
        int, Field(description="Number of images in the index, or with the label or key.", examples=[2624])
    ]
    has_more: HasMore
    next_cursor: Annotated[
        int | None,
        Field(
            description="`cursor` of the next page; null on the last. Images that are added meanwhile come at the end."
        ),
    ]


class LabelCount(Schema):
    """A label and its number of images."""

    label: str
    images: int


class LabelsResponse(Schema):
    """The labels of the index."""

    labels: list[LabelCount]


def _check_restored(value: object) -> object:
    """Raise ValueError for anything but False and None; also for 0, although it equals False."""
    if value is not False and value is not None:
        raise ValueError("it can only be false, which restores the image: use DELETE to remove it")
    return value


class ImageUpdate(Schema):
    """Changes to an indexed image; what is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    label: StoredLabel | None = None
    removed: Annotated[Literal[False] | None, BeforeValidator(_check_restored)] = None


class BulkUpdate(Schema):
    """Which images to change (by ids, by keys, or all with a label), and how; what is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    ids: Annotated[list[StoredId] | None, Field(min_length=1, max_length=MAX_SELECTED)] = None
    keys: Annotated[list[StoredText] | None, Field(min_length=1, max_length=MAX_SELECTED)] = None
    with_label: Annotated[LookupLabel | None, Field(description="All images that have this label.")] = None
    label: Annotated[StoredLabel | None, Field(description="The new label, or null for none.")] = None
    removed: Annotated[
        bool | None, Field(description="true removes images; false restores removed ones, until they are compacted.")
    ] = None


class BulkChangeResponse(Schema):
    """How many images were actually changed."""

    index: IndexRef
    changed: Annotated[int, Field(examples=[3])]
    unknown_ids: Annotated[
        list[int], Field(description="Requested ids that match no image; only a restore matches removed ones.")
    ]
    unknown_keys: Annotated[
        list[str], Field(description="Requested keys that match no image; only a restore matches removed ones.")
    ]


class AddedImage(Schema):
    """An image that was added. The same bytes keep their id until a compaction deletes the image."""

    id: int
    status: Annotated[
        AddStatus,
        Field(
            examples=["added"],
            description="`exists`: the index already has these bytes; `restored`: the image had been removed.",
        ),
    ]
    url: Annotated[str, Field(examples=["/images/17"])]

    @classmethod
    def of(cls, result: AddResult, prefix: str) -> AddedImage:
        """`prefix`: the proxy's path prefix."""
        return cls(id=result.id, status=result.status, url=f"{prefix}/images/{result.id}")


class InfoResponse(Schema):
    """The loaded model and index."""

    model: ModelRef
    num_classes: int
    device: Annotated[str, Field(description="Device that the network runs on.", examples=["cpu"])]
    precision: Annotated[str, Field(description="Numeric precision of the network.", examples=["float32"])]
    index: IndexRef | None
    measurements: list[dict[str, object]]
    license: str
    created: datetime
    parameters: int
    towers: Annotated[int, Field(description="Number of towers in the network.", examples=[2])]
    training: Annotated[dict[str, object], Field(description="Dataset, recipe and commit of the training.")]


class HistoryResponse(Schema):
    """Training history of the network."""

    classes: list[ClassRef]
    history: Annotated[TrainingHistory | None, Field(description="Null if the artifact has none.")]


class HealthResponse(Schema):
    """State of the server."""

    status: Annotated[str, Field(examples=["ready"])]


class ErrorDetail(Schema):
    """An error: its code, what is wrong and what to do, and the id of the request."""

    code: Annotated[str, Field(examples=["invalid_image"])]
    message: Annotated[str, Field(examples=["the image is damaged: send a complete file"])]
    request_id: str


class ProtocolError(Schema):
    """An error of the Open Inference Protocol, under /v2."""

    error: str


class ErrorResponse(Schema):
    """The body of a response with a status of 400 or more, except for health checks and under `/v2`."""

    error: ErrorDetail


class AddImagesResponse(Schema):
    """The result of each image, in the order of the request."""

    index: IndexRef
    images: list[AddedImage | ErrorResponse]
