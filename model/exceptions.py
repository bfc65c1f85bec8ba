"""Exceptions of `model`, `index` and `training`. Their messages say what is wrong, then what to do.

`server.exceptions` gives an HTTP status and error code to those that a request can cause. The command line prints the
message and exits with status 1.
"""


class AlexNetError(Exception):
    """Base of all errors that a user can act on."""


class InvalidImageError(AlexNetError):
    """The file is in a supported image format, but damaged or invalid."""


class UnsupportedImageError(InvalidImageError):
    """The file isn't in a supported image format."""


class MissingExtraError(UnsupportedImageError):
    """Reading the file's image format needs an extra that isn't installed."""


class ImageTooLargeError(InvalidImageError):
    """The image has more pixels, longer sides or more data than allowed."""


class InvalidRequestError(AlexNetError):
    """A parameter of a query or command is invalid."""


class ArtifactError(AlexNetError):
    """An artifact is missing, incomplete, damaged, or unsuitable for what it is used for."""


class NetworkConfigError(AlexNetError):
    """The options of a network are invalid or contradict each other."""


class ExportError(AlexNetError):
    """The exported ONNX graph doesn't compute what the network does."""


class DownloadError(AlexNetError):
    """A file can't be downloaded, or isn't the published one."""


class QuantizationError(AlexNetError):
    """The int8 network's error exceeds the float32 network's by too much."""


class DatasetError(AlexNetError):
    """A dataset is missing, empty, or unsuitable for training."""


class DatasetNotFoundError(DatasetError):
    """There is no folder or table at the given path."""


class TrainingError(AlexNetError):
    """Training can't start or continue: an option is invalid, the loss isn't finite, or a checkpoint doesn't fit."""


class StoppedError(TrainingError):
    """Work was stopped by a signal; completed work is saved."""


class IndexStoreError(AlexNetError):
    """An index is missing, damaged, in use, or made by another network."""


class IndexNotFoundError(IndexStoreError):
    """There is no index at the given location."""


class IndexFormatError(IndexStoreError):
    """An index has the format of another version of the program."""


class StorageFullError(IndexStoreError):
    """The disk is full; nothing of this change was written, and earlier changes are kept."""


class IndexLockedError(IndexStoreError):
    """Another program has locked the catalog of the index; nothing was changed."""


class IndexUnavailableError(IndexStoreError):
    """The database of the index can't be reached, or doesn't answer in time; it may answer later."""


class ReadOnlyIndexError(IndexStoreError):
    """The index is open for reading only, or another alexnet process holds its write lock."""


class IndexReplacedError(ReadOnlyIndexError):
    """The index's files were replaced since it was opened; nothing was changed."""


class UnknownImageError(AlexNetError):
    """No image has this id or key, the image was removed or is damaged, or its file is gone."""


class DeviceError(AlexNetError):
    """The requested device isn't available, or a package that it needs is missing or installed twice."""
