"""Class names: of the sets that ship with the service, or an entry's own; as many as there are classes."""

from __future__ import annotations

import pytest

from service.errors import InvalidEntry
from service.label_sets import label_names
from service.manifest import TensorSpec
from tests.cards import classifier


def test_imagenet_has_a_thousand_different_classes_with_names() -> None:
    names = label_names(classifier())
    assert len(names) == 1000
    assert all(name.strip() == name and name for name in names)
    assert names[281:283] == ("tabby, tabby cat", "tiger cat") or "tabby" in names[281]


@pytest.mark.parametrize("label_set", ["imagenet-22k", "../catalogue_names", "", "/etc/passwd"])
def test_a_label_set_that_is_not_shipped_is_an_invalid_entry(label_set: str) -> None:
    with pytest.raises(InvalidEntry, match="not among those"):
        label_names(classifier(label_set=label_set))


@pytest.mark.parametrize("classes", [999, 1001])
def test_names_must_be_as_many_as_classes(classes: int) -> None:
    with pytest.raises(InvalidEntry, match=f"{classes}.*1000"):
        label_names(classifier(outputs=(TensorSpec("probabilities", "FP32", (classes,)),)))


def test_own_names_are_used() -> None:
    outputs = (TensorSpec("probabilities", "FP32", (2,)),)
    assert label_names(classifier(label_set="own", label_names=("cat", "dog"), outputs=outputs)) == ("cat", "dog")
