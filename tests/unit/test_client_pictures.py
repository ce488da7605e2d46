"""What may be handed to the client as a picture, and what of it travels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.client import Client
from service.client.pictures import source_of
from tests.pictures import encoded, photograph, stored


def test_files_and_bytes_travel_as_they_are(tmp_path: Path) -> None:
    data = encoded(photograph(), "WEBP")
    file = tmp_path / "x"
    file.write_bytes(data)
    assert [source_of(one).data for one in (file, str(file), data, bytearray(data), memoryview(data))] == [data] * 5


def test_images_and_arrays_lose_nothing() -> None:
    image = photograph()
    for one in (image, np.asarray(image), np.asarray(image)[:, ::-1][:, ::-1]):
        assert np.array_equal(np.asarray(source_of(one).image()), np.asarray(image))


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_an_image_with_an_orientation_is_sent_upright(orientation: int) -> None:
    pixels, exif = stored(photograph(), orientation)
    file = encoded(pixels, "PNG", exif=exif)
    image = source_of(file).image()
    assert np.array_equal(np.asarray(image), np.asarray(photograph()))
    with Image.open(io.BytesIO(file)) as opened:
        assert np.array_equal(np.asarray(source_of(opened).image()), np.asarray(photograph()))


def test_transparency_is_laid_over_white_as_the_gateway_does() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert np.asarray(source_of(clear).image()).min() == 255


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        Image.new("F", (4, 4)),
        17,
        None,
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_what_is_no_picture_is_refused_with_what_would_be(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"uint8|RGB"):
        source_of(wrong)


def test_a_file_that_is_not_there_is_an_os_error_and_an_empty_list_a_value_error() -> None:
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(FileNotFoundError):
            client.classify("nowhere.jpg")
        with pytest.raises(ValueError, match="no picture"):
            client.classify([])
