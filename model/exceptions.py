"""The project's exceptions. Each says what was expected and what was found.

`server.error_handlers` maps them to HTTP statuses in one table; the command line prints the message
and exits with status 1.
"""


class AlexNetError(Exception):
    """Base of all errors that a user can act on."""


class InvalidImageError(AlexNetError):
    """The bytes are of an image format that we read, but broken."""


class UnsupportedImageError(InvalidImageError):
    """The bytes are no image of a format that we read."""


class ImageTooLargeError(InvalidImageError):
    """The image has more pixels or longer sides than allowed."""


class InvalidRequestError(AlexNetError):
    """A parameter of a query is out of its range."""


class ArtifactError(AlexNetError):
    """An artifact is missing, incomplete, damaged, or doesn't fit what it is used with."""


class NetworkConfigError(AlexNetError):
    """The options of a network are invalid or contradict each other."""


class ExportError(AlexNetError):
    """The exported ONNX graph doesn't compute what the torch network computes."""


class DownloadError(AlexNetError):
    """A file can't be fetched, or isn't the one that was published."""


class QuantizationError(AlexNetError):
    """The network in int8 makes too many errors more than in float32."""


class DatasetError(AlexNetError):
    """A data set is missing, empty, or can't be trained on."""


class TrainingError(AlexNetError):
    """Training can't go on: the loss is no longer finite, or a checkpoint doesn't fit."""


class StoppedError(TrainingError):
    """Training was asked to stop, and saved where it is."""


class IndexStoreError(AlexNetError):
    """An index is missing, damaged, in use, or made by another network."""


class IndexNotFoundError(IndexStoreError):
    """There is no index at the given location."""


class StorageFullError(IndexStoreError):
    """The disk has no room for what was to be added; what was there before is as it was."""


class IndexLockedError(IndexStoreError):
    """Another program holds the catalog; nothing was changed."""


class ReadOnlyIndexError(IndexStoreError):
    """The index is open for reading, or isn't this process's to change."""


class UnknownImageError(AlexNetError):
    """No image has this id."""


class DeviceError(AlexNetError):
    """The requested device isn't what would really run, or a package is missing or doubled."""
