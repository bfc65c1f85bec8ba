"""A client for alexnet-server, synchronous and asynchronous.

from alexnet_client import Client

with Client("http://127.0.0.1:8000") as client:
    print(client.classify("photo.jpg").predictions[0].name)
    for neighbor in client.similar("photo.jpg", k=6):
        print(neighbor.id, neighbor.distance, neighbor.label)
"""

from alexnet_client.asynchronous import AsyncClient
from alexnet_client.client import Client
from alexnet_client.exceptions import (
    AlexNetClientError,
    AlexNetServerError,
    InvalidInputError,
    ServerUnreachableError,
)
from alexnet_client.images import ImageKey, ImageLike
from alexnet_client.responses import AddedImage, Classification, Features, Neighbor, Prediction
from alexnet_client.retries import Retries

__all__ = [
    "AddedImage",
    "AlexNetClientError",
    "AlexNetServerError",
    "AsyncClient",
    "Classification",
    "Client",
    "Features",
    "ImageKey",
    "ImageLike",
    "InvalidInputError",
    "Neighbor",
    "Prediction",
    "Retries",
    "ServerUnreachableError",
]
