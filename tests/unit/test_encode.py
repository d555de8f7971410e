"""What leaves the service is pixels: nothing that came with the photo survives beside them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from services.anonymizer.decode import decode
from services.anonymizer.encode import MEDIA_TYPES, encode

MARKER = b"Chatelaine-Street-7"
FORMATS = list(MEDIA_TYPES)
SCENE = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def laden_file(form: str) -> bytes:
    """A photo with everything a file of this format can carry: EXIF with GPS and a description, XMP, ICC, text."""
    exif = Image.Exif()
    exif[0x010E] = MARKER.decode()
    exif.get_ifd(0x8825)[29] = MARKER.decode()
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", MARKER.decode())
    text.add_itxt("Comment", MARKER.decode())
    own = {"jpeg": {"comment": MARKER}, "png": {"pnginfo": text}, "webp": {}}[form]
    if form != "png":
        own["xmp"] = b"<x:xmpmeta>" + MARKER + b"</x:xmpmeta>"
    else:
        text.add_itxt("XML:com.adobe.xmp", MARKER.decode())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sink = io.BytesIO()
    Image.fromarray(SCENE).save(sink, form, exif=exif, icc_profile=profile, **own)
    return sink.getvalue()


def again(form: str, output: str) -> bytes:
    photo = decode(laden_file(form), 10_000)
    return encode(photo.pixels, output, 90, photo.grey)


@pytest.mark.parametrize("form", FORMATS)
def test_the_input_of_these_tests_does_carry_metadata(form):
    data = laden_file(form)
    assert MARKER in data
    assert {"exif", "icc_profile"} <= set(Image.open(io.BytesIO(data)).info)


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("form", FORMATS)
def test_no_byte_of_metadata_survives(form, output):
    data = again(form, output)
    for trace in (MARKER, b"Exif", b"EXIF", b"eXIf", b"XMP", b"xmp", b"ICC", b"iCCP", b"tEXt", b"iTXt", b"GPS"):
        assert trace not in data


@pytest.mark.parametrize("output", FORMATS)
def test_reopened_file_has_no_metadata(output):
    image = Image.open(io.BytesIO(again(output, output)))
    image.load()
    assert not image.getexif()
    technical = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background", "timestamp", "duration"}
    assert set(image.info) <= technical


@pytest.mark.parametrize("form", FORMATS)
def test_output_has_the_format_asked_for(form):
    assert Image.open(io.BytesIO(encode(SCENE, form, 90))).format == form.upper()


def test_png_is_lossless():
    np.testing.assert_array_equal(decode(encode(SCENE, "png", 1), 10_000).pixels, SCENE)


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_grey_photo_is_written_with_one_channel(form):
    grey = np.repeat(SCENE[..., :1], 3, axis=2)
    assert Image.open(io.BytesIO(encode(grey, form, 90, grey=True))).mode == "L"


def test_grey_levels_are_kept_exactly():
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(decode(encode(levels, "png", 90, grey=True), 10_000).pixels, levels)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_higher_quality_makes_a_larger_file(form):
    assert len(encode(SCENE, form, 95)) > 1.5 * len(encode(SCENE, form, 40))


@pytest.mark.parametrize("size", [(32, 48), (17, 33), (1, 1), (8, 200)])
@pytest.mark.parametrize("quality", [1, 75, 100])
def test_jpeg_is_the_picture_that_pillow_writes(size, quality):
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=quality)
    written, wanted = (decode(data, 10_000).pixels for data in (encode(pixels, "jpeg", quality), sink.getvalue()))
    np.testing.assert_array_equal(written, wanted)
