"""A card written to config.pbtxt and read back is the same card; what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from service.entry_config import card_from_config, config_from_card, config_text, read_entry, write_entry
from service.errors import InvalidEntry
from service.manifest import (
    Accuracy,
    ModelCard,
    Profile,
    ResizeMode,
    ResizeRule,
    SegmentKind,
    Task,
    TensorSpec,
    Weights,
)
from tests.cards import classifier

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=20)
name = st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True)
number = st.floats(0, 1e6, allow_nan=False)
percent = st.floats(0, 100, allow_nan=False)
TASKS: list[Task] = ["classify", "detect", "segment"]


@st.composite
def resize_rules(draw: st.DrawFn) -> ResizeRule:
    mode = draw(st.sampled_from(get_args(ResizeMode)))
    size_hw = (draw(st.integers(1, 2000)), draw(st.integers(1, 2000)))
    shorter = max(size_hw) + draw(st.integers(0, 100)) if mode == "crop" else None
    return ResizeRule(mode, size_hw, draw(st.sampled_from(["bilinear", "bicubic"])), shorter)


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    trained = draw(st.booleans())
    task = draw(st.sampled_from(TASKS))
    own = draw(st.lists(line, max_size=4))
    accuracy = Accuracy(draw(percent), draw(text), draw(text), draw(text)) if trained and draw(st.booleans()) else None
    pairs = draw(st.lists(st.tuples(st.integers(1, 64), number), max_size=3))
    profile = Profile(draw(text), draw(number), draw(number), tuple(pairs)) if draw(st.booleans()) else None
    verified = draw(st.dictionaries(name, text, max_size=3))
    return ModelCard(
        name=draw(name),
        variant_of=draw(name),
        task=task,
        family=draw(text),
        precision=draw(st.sampled_from(["fp32", "fp16", "int8"])),
        backend=draw(st.sampled_from(["onnxruntime", "tensorrt"])),
        max_batch_size=draw(st.integers(0, 128)),
        resize=draw(resize_rules()),
        outputs=tuple(
            TensorSpec(draw(name), dtype, tuple(draw(st.lists(st.integers(-1, 999), min_size=1, max_size=3))))
            for dtype in draw(st.lists(st.sampled_from(["FP32", "INT32", "UINT8"]), max_size=3))
        ),
        label_set="own" if own else draw(st.sampled_from(["imagenet-1k", "coco"])),
        label_names=tuple(own),
        accuracy=accuracy,
        weights=Weights("hub" if trained else "untrained", draw(text), draw(text), draw(text)),
        params=draw(st.integers(0, 2**40)),
        flops=draw(st.integers(0, 2**60)),
        onnx_sha256=draw(text),
        onnx_bytes=draw(st.integers(0, 2**40)),
        verification=tuple(sorted(verified.items())),
        profile=profile,
        recipe=draw(text),
        segment_kind=draw(st.sampled_from(get_args(SegmentKind))) if task == "segment" else None,
    )


@settings(max_examples=150, deadline=None)
@given(card=cards())
def test_a_card_survives_its_text(card: ModelCard) -> None:
    config = model_config_pb2.ModelConfig()
    text_format.Parse(config_text(card), config)
    assert card_from_config(config) == card


def test_a_card_survives_the_disk(tmp_path: Path) -> None:
    card = classifier("some_model")
    entry = tmp_path / card.name
    entry.mkdir()
    write_entry(card, entry)
    assert read_entry(entry) == card


OPTIONAL = {"resize_shorter_side_px", "label_names", "recipe", "accuracy", "profile_device"}


def full_config() -> model_config_pb2.ModelConfig:
    return config_from_card(classifier(verification=(("cosine", "1.0"),)))


@pytest.mark.parametrize("key", sorted(set(full_config().parameters) - OPTIONAL - {"verified_cosine"}))
def test_a_missing_parameter_is_named(key: str) -> None:
    config = full_config()
    del config.parameters[key]
    with pytest.raises(InvalidEntry, match=key):
        card_from_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "dream"),
        ("precision", "fp8"),
        ("resize", "stretch"),
        ("interpolation", "lanczos"),
        ("params", "many"),
        ("resize_shorter_side_px", "12"),
        ("accuracy", "nan"),
        ("accuracy", "100.5"),
        ("segment_kind", "semantic"),
        ("accuracy", "high"),
        ("profile_alpha_ms", "-1.0"),
        ("profile_beta_ms", "inf"),
        ("profile_p50_ms", "1=2=3"),
        ("profile_p50_ms", "fast"),
        ("weights", "untrained"),
        ("label_names", "a\nb"),
    ],
)
def test_a_value_that_makes_no_sense_is_an_invalid_entry(key: str, value: str) -> None:
    config = full_config()
    config.parameters[key].string_value = value
    with pytest.raises(InvalidEntry, match="fake_large"):
        card_from_config(config)


@pytest.mark.parametrize("dims", [[], [32, 32], [3, 32, 32], [32, 32, 1], [-1, -1, 3], [0, 32, 3], [1, 32, 32, 3]])
def test_an_input_that_is_no_picture_of_fixed_size_is_refused(dims: list[int]) -> None:
    config = full_config()
    del config.input[0].dims[:]
    config.input[0].dims.extend(dims)
    with pytest.raises(InvalidEntry, match="input"):
        card_from_config(config)


def test_without_a_batch_axis_the_dims_are_the_whole_shape_as_triton_wants_them() -> None:
    card = classifier(max_batch_size=0)
    config = config_from_card(card)
    assert list(config.input[0].dims) == [1, 32, 32, 3]
    assert list(config.output[0].dims) == [1, 1000]
    assert not config.HasField("dynamic_batching")
    assert card_from_config(config) == card


@pytest.mark.parametrize("dims", [[], [32, 32, 3], [2, 32, 32, 3], [-1, 32, 32, 3], [1, 32, 3]])
def test_without_a_batch_axis_other_dims_are_refused(dims: list[int]) -> None:
    config = config_from_card(classifier(max_batch_size=0))
    del config.input[0].dims[:]
    config.input[0].dims.extend(dims)
    with pytest.raises(InvalidEntry, match="input"):
        card_from_config(config)


def test_no_input_at_all_is_refused_in_words() -> None:
    config = full_config()
    del config.input[:]
    with pytest.raises(InvalidEntry, match="one input, not 0"):
        card_from_config(config)


def test_a_model_of_somebody_else_is_an_invalid_entry() -> None:
    with pytest.raises(InvalidEntry, match="variant_of"):
        card_from_config(model_config_pb2.ModelConfig(name="theirs", backend="python"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"name: ", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'name: "another"', "says it is 'another'"),
        (b"no_such_field: 1", "cannot be read"),
    ],
)
def test_a_config_that_cannot_be_read_names_the_entry(tmp_path: Path, content: bytes, what: str) -> None:
    entry = tmp_path / "broken"
    entry.mkdir()
    (entry / "config.pbtxt").write_bytes(content)
    with pytest.raises(InvalidEntry, match=f"broken: .*{what}"):
        read_entry(entry)


def test_an_entry_without_config_names_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidEntry, match="nothing_there"):
        read_entry(tmp_path / "nothing_there")
