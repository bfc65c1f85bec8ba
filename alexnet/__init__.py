"""alexnet-server in a Python program.

    from alexnet import Classifier, Index

    classifier = Classifier()
    print(classifier.classify("photo.jpg"))

The names below are imported when they are used, so that `import alexnet` takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet.classifier import Classifier
    from alexnet.image_index import Index, Neighbor
    from index.entries import AddResult
    from model.classification import Classification, Prediction
    from model.exceptions import AlexNetError

__all__ = ["AddResult", "AlexNetError", "Classification", "Classifier", "Index", "Neighbor", "Prediction"]

_MODULES = {
    "AddResult": "index.entries",
    "AlexNetError": "model.exceptions",
    "Classification": "model.classification",
    "Classifier": "alexnet.classifier",
    "Index": "alexnet.image_index",
    "Neighbor": "alexnet.image_index",
    "Prediction": "model.classification",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__`. Raises InstallationError if `check_installation` does."""
    if name not in _MODULES:
        raise AttributeError(f"module 'alexnet' has no attribute {name!r}")
    from importlib import import_module

    from alexnet.installation import check_installation

    check_installation()
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
