"""Identify file formats by their first bytes: those that are read, and those that are refused; image suffixes."""

from __future__ import annotations

from typing import Final

from model.exceptions import UnsupportedImageError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Formats that are always read; PPM: also PGM, PBM and PFM."""
EXTRA_FORMATS: Final = {"HEIC": "heic", "JPEG XL": "jxl"}
"""Formats that are read with an extra of this package -> the extra."""
MEDIA_TYPES: Final = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif", "PPM": "image/x-portable-anymap", "HEIC": "image/heic",
    "JPEG XL": "image/jxl",
}  # fmt: skip
"""The media type of each format."""
SUFFIXES: Final = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".heic",
    ".heif", ".jxl", ".jp2", ".ppm", ".pgm", ".pnm", ".pbm",
}  # fmt: skip
"""Suffixes of images, even of some that can't be read. A file with another suffix is judged by its first bytes."""
HEAD_BYTES = 4_096
"""How many bytes at the beginning of a file tell its format."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
)
_SUPPORTED = f"{', '.join(FORMATS)}; with extras: {', '.join(EXTRA_FORMATS)}"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")
_UNSUPPORTED_SIGNATURES = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document (EPS)"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (Fujifilm RAF)"),
    (b"FOVb", "a camera raw file (Sigma X3F)"),
    (b"\0MRM", "a camera raw file (Minolta MRW)"),
    (b"IIRO", "a camera raw file (Olympus ORF)"),
    (b"IIRS", "a camera raw file (Olympus ORF)"),
    (b"MMOR", "a camera raw file (Olympus ORF)"),
    (b"IIU\0", "a camera raw file (Panasonic RW2)"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"#?RGBE", "a Radiance HDR image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"PF\n", "a floating-point image (PFM in color)"),
    (b"P7\n", "a PAM image"),
    (b"DDS ", "a DirectDraw texture (DDS)"),
    (b"qoif", "a QOI image"),
    (b"farbfeld", "a farbfeld image"),
    (b"BPG\xfb", "a BPG image"),
    (b"FLIF", "a FLIF image"),
    (b"\0\0\1\0", "a Windows icon (ICO)"),
    (b"\0\0\2\0", "a Windows cursor (CUR) or a Targa image (TGA)"),
    (b"icns", "a macOS icon (ICNS)"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"AT&TFORM", "a DjVu document"),
    (b"SIMPLE  =", "a FITS image"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\x00\x00\x01\xba", "a video (MPEG)"),
    (b"\x00\x00\x01\xb3", "a video (MPEG)"),
    (b"0&\xb2u", "a video (Windows Media)"),
    (b"FLV\1", "a video (Flash)"),
    (b"OggS", "an audio or video file (Ogg)"),
    (b"ID3", "an audio file (MP3)"),
    (b"fLaC", "an audio file (FLAC)"),
    (b"PK\3\4", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x7fELF", "an executable"),
    (b"MZ", "an executable"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
)
_RIFF = {b"AVI ": "a video (AVI)", b"WAVE": "an audio file (WAV)"}
_AVIF_BRANDS, _JPEG_2000_BRANDS = {b"avif", b"avis"}, {b"jp2 ", b"jpx ", b"jpm "}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2", b"miaf"}
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<html", "an HTML page"), (b"<!doctype html", "an HTML page"))


def identify_format(head: bytes) -> str:
    """The format of a file that begins with `head`, whatever its name is: one of FORMATS or EXTRA_FORMATS.

    Raises UnsupportedImageError, which names the format if it is a known one.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head.startswith(_TIFF):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        return _identify_boxes(head)
    raise UnsupportedImageError(f"not an image in a supported format ({_SUPPORTED}): {describe_file(head)}")


def describe_file(head: bytes) -> str:
    """What a file that begins with `head` is, for people."""
    if not head:
        return "the file is empty"
    for signature, name in _UNSUPPORTED_SIGNATURES:
        if head.startswith(signature):
            return f"it is {name}"
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return f"it is {_RIFF[head[8:12]]}"
    if head[128:132] == b"DICM":
        return "it is a DICOM image"
    if head[257:262] == b"ustar":
        return "it is a tar archive"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, name in _MARKUP:
        if text.startswith(mark) or (text.startswith((b"<?xml", b"<!")) and mark in text):
            return f"it is {name}"
    if not head.strip(b"\0"):
        return "its first bytes are zeros, as after an interrupted copy"
    return "its first bytes match none of these"


def _identify_boxes(head: bytes) -> str:
    """The format of a file of boxes (ISO base media): AVIF and HEIC are recognized by their brands."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, length, 4))]
    if _AVIF_BRANDS & set(brands):
        return "AVIF"
    if brands[0] == b"crx ":
        name = "a camera raw file (Canon CR3)"
    elif _JPEG_2000_BRANDS & set(brands):
        name = "a JPEG 2000 image"
    elif _HEIF_BRANDS & set(brands):
        return "HEIC"
    else:
        name = f"a video ({brands[0].decode('latin-1').strip()})"
    raise UnsupportedImageError(f"not an image in a supported format ({_SUPPORTED}): it is {name}")
