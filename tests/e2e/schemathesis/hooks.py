"""For schemathesis: bodies that are pictures, so that it comes further than to the first refusal."""

from __future__ import annotations

import io
import json

import schemathesis
import skimage.data
from hypothesis import strategies as st
from PIL import Image


def _encoded(name: str, image_format: str) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(getattr(skimage.data, name)()).resize((160, 120)).save(encoded, image_format)
    return encoded.getvalue()


def _pictures(image_format: str) -> st.SearchStrategy[bytes]:
    whole = [_encoded(name, image_format) for name in ("chelsea", "astronaut")]
    return st.one_of(st.sampled_from(whole), st.sampled_from([whole[0][:500], whole[0][:-20]]), st.binary())


def _tensors() -> st.SearchStrategy[bytes]:
    inputs = [{"name": "image", "shape": [1, 224, 224, 3], "datatype": "UINT8", "data": [7] * (224 * 224 * 3)}]
    right = {"inputs": inputs, "outputs": [{"name": "embedding"}]}
    return st.one_of(st.just(json.dumps(right).encode()), st.just(json.dumps(right).encode()[:-9]), st.binary())


for media_type, image_format in (("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
    schemathesis.openapi.media_type(f"image/{media_type}", _pictures(image_format))
schemathesis.openapi.media_type("application/octet-stream", st.one_of(_pictures("PNG"), _tensors()))
