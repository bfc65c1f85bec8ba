"""The image contract: `detail`, color profiles, and the name that caches, artifacts and indexes keep."""

from __future__ import annotations

import io
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from index.folder.store import FolderIndex
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import MANIFEST, Artifact
from model.exceptions import ArtifactError, IndexStoreError
from model.images.contract import DEFAULT_CONTRACT, ImageContract
from model.images.preprocess import decode_image
from training.config import RunOptions
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.loop.setup import choose_contract


def photo(width: int, height: int, side: int = 40) -> Image.Image:
    """A smooth image with some noise, like a photograph."""
    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height)).filter(ImageFilter.GaussianBlur(1))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("contract", [DEFAULT_CONTRACT, ImageContract(48), ImageContract(32, False)])
def test_a_name_says_everything(contract: ImageContract) -> None:
    assert ImageContract.parse(contract.name) == contract


@pytest.mark.parametrize("name", ["", "rgb-256-center-bilinear-2", f"{DEFAULT_CONTRACT.name}-sharp", "x-detail-32"])
def test_an_unknown_contract_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match="images are decoded by the contract"):
        ImageContract.parse(name)


@pytest.mark.parametrize("detail", [0, 7, 256, 1000])
def test_an_impossible_detail_is_refused(detail: int) -> None:
    with pytest.raises(ArtifactError, match="choose 8 to 255"):
        ImageContract(detail)


@pytest.mark.parametrize("detail", [32, 48])
@pytest.mark.parametrize("size", [(300, 300), (640, 480), (333, 500), (112, 112)])
def test_detail_is_a_reduction_before_the_enlargement(detail: int, size: tuple[int, int]) -> None:
    """As for training and measuring the network for photographs: reduce the center square to `detail`, then enlarge."""
    image = photo(*size)
    side, (left, top) = min(size), ((size[0] - min(size)) // 2, (size[1] - min(size)) // 2)
    square = image.crop((left, top, left + side, top + side)).resize((detail, detail), Image.Resampling.BILINEAR)
    expected = np.asarray(square.resize((256, 256), Image.Resampling.BILINEAR)).astype(int)
    decoded = decode_image(png(image), contract=ImageContract(detail))
    difference = np.abs(decoded.pixels - expected).mean()
    assert difference < (0.5 if size[0] == size[1] else 3)  # the cut is between whole pixels
    assert np.abs(decode_image(png(image)).pixels - expected).mean() > 2 * difference
    np.testing.assert_array_equal(decoded.preview, decode_image(png(image)).pixels)


def test_an_image_of_less_detail_stays_as_it_is() -> None:
    data = png(photo(40, 50))
    np.testing.assert_array_equal(decode_image(data, contract=ImageContract(48)).pixels, decode_image(data).pixels)


def test_detail_of_a_turned_image() -> None:
    image, exif = photo(300, 200), Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    contract = ImageContract(32)
    turned, upright = decode_image(file.getvalue(), contract=contract), decode_image(png(image), contract=contract)
    assert np.abs(turned.pixels.astype(int) - upright.pixels).max() <= 2


@pytest.fixture
def artifact_copy(artifact: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact.path, tmp_path / "artifact"))


def with_contract(artifact: Path, contract: ImageContract) -> Artifact:
    """Change the contract that an artifact asks for, and load it."""
    manifest = artifacts.read_manifest(artifact).model_copy(update={"image_contract": contract.name})
    (artifact / MANIFEST).write_text(manifest.model_dump_json())
    return artifacts.load(artifact)


def test_an_index_belongs_to_a_contract(artifact_copy: Path, tmp_path: Path) -> None:
    with closing(FolderIndex.create(tmp_path / "index", artifacts.load(artifact_copy))) as index:
        assert index.image_contract == DEFAULT_CONTRACT
        reduced = with_contract(artifact_copy, ImageContract(32))
        with pytest.raises(IndexStoreError, match=r"needs .*-detail-32: build another index"):
            index.check_compatible(reduced)
    with closing(FolderIndex.create(tmp_path / "reduced", reduced)) as index:
        assert index.image_contract == reduced.image_contract == ImageContract(32)


def test_a_cache_belongs_to_a_contract(few: Path, tmp_path: Path) -> None:
    dataset = load_folder(few)
    for contract in (DEFAULT_CONTRACT, ImageContract(16), DEFAULT_CONTRACT):
        pixels = build_cache(dataset, tmp_path, contract=contract).images.read(np.array([0]))[0]
        expected = decode_image(dataset.train[0].path.read_bytes(), contract=contract).pixels
        np.testing.assert_array_equal(pixels, expected)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_asks_for_what_its_start_asks(artifact_copy: Path) -> None:
    with_contract(artifact_copy, ImageContract(32, color_profiles=False))
    assert choose_contract(RunOptions()) == DEFAULT_CONTRACT
    assert choose_contract(RunOptions(detail=48)) == ImageContract(48)
    assert choose_contract(RunOptions(), recipe_detail=48) == ImageContract(48)
    assert choose_contract(RunOptions(detail=256), recipe_detail=48) == DEFAULT_CONTRACT
    assert choose_contract(RunOptions(init_from=artifact_copy), recipe_detail=48) == ImageContract(
        32, color_profiles=False
    )
    changed = RunOptions(init_from=artifact_copy, detail=256, color_profiles=True)
    assert choose_contract(changed) == DEFAULT_CONTRACT
