"""Images of every kind are decoded as their files are, or refused with a clear message."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from alexnet.image_kinds import ImageLike, decode, decode_batches, each_image
from model.exceptions import InvalidImageError, InvalidRequestError, UnsupportedImageError
from model.images.contract import DEFAULT_CONTRACT
from model.images.preprocess import decode_image
from tests.helpers.drawings import draw


@pytest.fixture
def pixels() -> np.ndarray:
    """(300, 280, 3) uint8."""
    small = Image.fromarray(draw("circles", np.random.default_rng(1)))
    return np.asarray(small.resize((280, 300)))


def encode_png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_every_kind_gives_the_same_pixels(pixels: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(pixels)
    data = encode_png(image)
    (tmp_path / "image.png").write_bytes(data)
    expected = decode_image(data).pixels
    kinds: list[ImageLike] = [
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        data,
        image,
        Image.open(io.BytesIO(data)),
        pixels,
    ]
    decoded = [decode(kind, DEFAULT_CONTRACT) for kind in kinds]
    for item in decoded:
        np.testing.assert_array_equal(item.image.pixels, expected)
    assert [item.path is None for item in decoded] == [False, False, True, True, True, True]
    assert len({item.sha256 for item in decoded[:3]}) == 1
    assert len({item.sha256 for item in decoded[3:]}) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_of_any_mode_is_read(pixels: np.ndarray, mode: str) -> None:
    image = Image.fromarray(pixels).convert("RGB" if mode == "PA" else mode)
    if mode == "PA":
        image = image.convert("P")
        image.putalpha(255)
    shown = np.asarray(image.convert("RGBA").convert("RGB") if mode in ("LA", "RGBA", "PA") else image.convert("RGB"))
    expected = decode(shown.copy(), DEFAULT_CONTRACT).image.pixels.astype(int)
    assert np.abs(decode(image, DEFAULT_CONTRACT).image.pixels - expected).max() <= 2


@pytest.mark.parametrize("maximum", [900, 65535])
def test_a_pil_image_of_16_bits_is_read_alike_in_both_orders_of_bytes(maximum: int) -> None:
    values = np.linspace(0, maximum, 64 * 64).reshape(64, 64).astype(np.uint16)
    big_endian = Image.frombytes("I;16B", (64, 64), values.astype(">u2").tobytes())
    expected, read = (decode(image, DEFAULT_CONTRACT).image for image in (Image.fromarray(values), big_endian))
    assert (read.pixels == expected.pixels).all()
    assert read.info == expected.info


@pytest.mark.parametrize(("mode", "straight"), [("La", "LA"), ("RGBa", "RGBA")])
def test_a_pil_image_of_premultiplied_alpha_is_read(pixels: np.ndarray, mode: str, straight: str) -> None:
    image = Image.fromarray(pixels).convert(straight)
    image.putalpha(Image.fromarray(pixels[..., 0]))
    image = image.convert(mode)
    expected = decode(image.convert(straight), DEFAULT_CONTRACT).image.pixels
    np.testing.assert_array_equal(decode(image, DEFAULT_CONTRACT).image.pixels, expected)


def test_lab_and_a_color_profile(pixels: np.ndarray) -> None:
    image, lab, srgb = Image.fromarray(pixels), ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    expected = decode(image, DEFAULT_CONTRACT).image.pixels.astype(int)
    assert np.abs(decode(converted, DEFAULT_CONTRACT).image.pixels - expected).mean() < 2
    image.info["icc_profile"] = b"damaged"
    assert [warning.kind for warning in decode(image, DEFAULT_CONTRACT).image.info.warnings] == [
        "color_profile_ignored"
    ]


def test_what_a_pil_image_says_of_itself_counts(pixels: np.ndarray) -> None:
    """A PIL image's orientation, transparency and 16-bit levels count as they do in its file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    files = [
        encode_png(Image.fromarray(pixels), exif=exif),
        encode_png(Image.fromarray(gray), transparency=int(gray[0, 0])),
        encode_png(Image.fromarray(gray.astype(np.uint16) * 16)),
        encode_png(Image.fromarray(pixels).convert("P"), transparency=3),
    ]
    for data in files:
        expected = decode_image(data).pixels
        assert not np.array_equal(expected, decode_image(encode_png(Image.fromarray(pixels))).pixels)
        np.testing.assert_array_equal(decode(Image.open(io.BytesIO(data)), DEFAULT_CONTRACT).image.pixels, expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_a_transparent_level_of_16_bits_counts_as_in_its_file(mode: str) -> None:
    values = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
    values[:32, :32] = 300
    exif = Image.Exif()
    exif[0x0112] = 6
    expected = decode_image(encode_png(Image.fromarray(values), transparency=300, exif=exif)).pixels
    assert (expected[:100, -100:] == 255).all()
    if mode == "I;16B":
        image = Image.frombytes(mode, (64, 64), values.astype(">u2").tobytes())
    else:
        image = Image.fromarray(values.astype(np.int32 if mode == "I" else np.uint16))
    image.info["transparency"] = 300
    image.getexif()[0x0112] = 6
    np.testing.assert_array_equal(decode(image, DEFAULT_CONTRACT).image.pixels, expected)


def test_a_transparent_level_of_32_bits_is_refused() -> None:
    for samples in (np.full((8, 8), 70_000, np.int32), np.full((8, 8), 0.5, np.float32)):
        image = Image.fromarray(samples)
        image.info["transparency"] = 1
        with pytest.raises(InvalidImageError, match=r"delete its info\['transparency'\]"):
            decode(image, DEFAULT_CONTRACT)


def test_what_no_file_says_of_itself_does_not_count(pixels: np.ndarray) -> None:
    expected = decode(pixels, DEFAULT_CONTRACT).image.pixels
    for orientation in ("up", 70_000, 1.5):
        image = Image.fromarray(pixels)
        image.getexif()[0x0112] = orientation
        image.info["transparency"] = None
        np.testing.assert_array_equal(decode(image, DEFAULT_CONTRACT).image.pixels, expected)


@pytest.mark.parametrize("image", [np.zeros((0, 5, 3), np.uint8), Image.new("RGB", (5, 0))])
def test_an_image_without_pixels(image: ImageLike) -> None:
    with pytest.raises(InvalidImageError, match=r"^the image has no pixels: its size is 5 x 0$"):
        decode(image, DEFAULT_CONTRACT)


def test_an_address_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"download https://example\.org/cat\.jpg, and give its bytes$"):
        decode("https://example.org/cat.jpg", DEFAULT_CONTRACT)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(InvalidRequestError, match=r"^can't read a\0b\.jpg: .*null byte$"):
        decode("a\0b.jpg", DEFAULT_CONTRACT)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 4), np.uint8),
            r"must be height x width x 3 of dtype uint8, not 4x4 of uint8; for grayscale, give np",
        ),
        (np.zeros((4, 4, 4), np.uint8), r"not 4x4x4 of uint8; leave the alpha channel out: array\[..., :3\]$"),
        (np.zeros((4, 4, 3), np.float32), r"not 4x4x3 of float32; multiply values from 0 to 1 by 255"),
        (np.zeros((4, 4, 3), np.uint16), r"of uint16; scale its values to 0 to 255 and convert them to uint8$"),
        (np.zeros((3, 8, 8), np.uint8), r"not 3x8x8 of uint8; channels come last"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"not 2x8x8x3 of uint8; give several images as a list"),
        (17, r"an image must be a path, bytes, a PIL image or a numpy array, not int$"),
        (None, r"not NoneType$"),
        (io.BytesIO(b"a"), r"not BytesIO; for an open file, give its path or the result of its read\(\)$"),
    ],
)
def test_what_is_no_image(image: object, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        decode(image, DEFAULT_CONTRACT)  # type: ignore[arg-type]


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InvalidRequestError, match=r"^can't read .*none\.jpg: No such file or directory$"):
        decode(tmp_path / "none.jpg", DEFAULT_CONTRACT)
    with pytest.raises(UnsupportedImageError, match=r"^not an image in a supported format .*: .*notes\.jpg$"):
        decode(str(tmp_path / "notes.jpg"), DEFAULT_CONTRACT)
    with pytest.raises(UnsupportedImageError, match=r"the file is empty: .*empty\.png$"):
        decode(tmp_path / "empty.png", DEFAULT_CONTRACT)
    with pytest.raises(UnsupportedImageError, match=r"^it is a folder; give the files in it: "):
        decode(tmp_path, DEFAULT_CONTRACT)
    with pytest.raises(UnsupportedImageError, match="not an image in a supported format"):
        decode(b"no image", DEFAULT_CONTRACT)


def test_a_pil_image_whose_file_is_cut_or_closed(pixels: np.ndarray, tmp_path: Path) -> None:
    data = encode_png(Image.fromarray(pixels))
    with pytest.raises(InvalidImageError, match="the PIL image can't be loaded; its file"):
        list(decode_batches([Image.open(io.BytesIO(data[: len(data) // 2]))], DEFAULT_CONTRACT))
    (tmp_path / "image.png").write_bytes(data)
    with Image.open(tmp_path / "image.png") as image:
        pass
    with pytest.raises(InvalidImageError, match="the PIL image can't be loaded; its file"):
        decode(image, DEFAULT_CONTRACT)


def test_an_error_is_not_its_own_cause(pixels: np.ndarray) -> None:
    """A program that followed the causes of the error would never end."""
    with pytest.raises(InvalidImageError) as raised:
        decode(encode_png(Image.fromarray(pixels))[:1000], DEFAULT_CONTRACT)
    assert raised.value.__cause__ is not raised.value


def test_batches_keep_the_order(pixels: np.ndarray) -> None:
    images = [np.full((8, 8, 3), level, np.uint8) for level in range(40)]
    batches = list(decode_batches(iter(images), DEFAULT_CONTRACT))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert [item.image.pixels[0, 0, 0] for batch in batches for item in batch] == list(range(40))
    lazy = Image.open(io.BytesIO(encode_png(Image.fromarray(pixels))))
    ((first, *others),) = decode_batches([lazy] * 8, DEFAULT_CONTRACT)
    assert {item.sha256 for item in others} == {first.sha256}


def test_one_image_or_several() -> None:
    assert each_image("a.jpg") == ["a.jpg"]
    assert each_image(["a.jpg", Path("b.jpg")]) == ["a.jpg", Path("b.jpg")]
    with pytest.raises(InvalidRequestError, match="not int"):
        each_image(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="for an open file, give its path"):  # not a list of lines
        each_image(io.BytesIO(b"a"))


def test_orientation_counts_as_in_the_file(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for options in ({"exif": b"Exif\0\0garbage!"}, {"xmp": xmp}):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=True, **options)
        with Image.open(io.BytesIO(buffer.getvalue())) as opened:
            from_object = decode(opened, DEFAULT_CONTRACT).image.pixels
        np.testing.assert_array_equal(from_object, decode(buffer.getvalue(), DEFAULT_CONTRACT).image.pixels)


def test_the_same_pixels_are_the_same_image_whatever_else_a_tiff_says(pixels: np.ndarray) -> None:
    checksums = set()
    for dpi in (72, 300):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "TIFF", dpi=(dpi, dpi))
        with Image.open(buffer) as opened:
            checksums.add(decode(opened, DEFAULT_CONTRACT).sha256)
    assert len(checksums) == 1


def test_an_alpha_channel_of_a_bmp_that_is_0_everywhere_is_no_transparency(pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([pixels, np.zeros_like(pixels[..., :1])])).save(buffer, "BMP")
    with Image.open(buffer) as opened:
        from_object = decode(opened, DEFAULT_CONTRACT).image.pixels
    np.testing.assert_array_equal(from_object, decode(buffer.getvalue(), DEFAULT_CONTRACT).image.pixels)


def test_bytes_of_other_types(pixels: np.ndarray) -> None:
    data = encode_png(Image.fromarray(pixels))
    for same in (bytearray(data), memoryview(data)):
        assert decode(same, DEFAULT_CONTRACT).sha256 == decode(data, DEFAULT_CONTRACT).sha256
        (only,) = each_image(same)
        assert only is same
