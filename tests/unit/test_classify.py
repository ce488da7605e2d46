"""Probabilities → the few most likely classes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.errors import EngineFailed, InvalidParameter
from service.tasks.classify import check_classified, check_top_k, most_likely

NAMES = tuple(f"class {i}" for i in range(1000))


def probabilities(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_the_most_likely_come_first_with_their_names_and_scores() -> None:
    found = most_likely(probabilities(0.1, 0.6, 0.3), NAMES, top_k=2)
    assert [(label.class_id, label.label) for label in found] == [(1, "class 1"), (2, "class 2")]
    assert [label.score for label in found] == [0.6, 0.3], "as one would write them, not as a float64 of the float32"


@settings(max_examples=100, deadline=None)
@given(levels=st.lists(st.integers(0, 6), min_size=1, max_size=60), top_k=st.integers(1, 60))
def test_ties_go_to_the_lower_class_id_also_at_the_edge(levels: list[int], top_k: int) -> None:
    values = np.array(levels, np.float32) + 1
    found = most_likely(values / values.sum(), NAMES, top_k=top_k)
    expected = sorted(range(len(levels)), key=lambda i: (-levels[i], i))[:top_k]
    assert [label.class_id for label in found] == expected


def test_all_equal_gives_the_first_classes() -> None:
    found = most_likely(np.full(1000, 0.001, np.float32), NAMES, top_k=5)
    assert [label.class_id for label in found] == [0, 1, 2, 3, 4]


def test_all_classes_may_be_asked_for() -> None:
    found = most_likely(probabilities(0.2, 0.5, 0.3), NAMES, top_k=3)
    assert [label.class_id for label in found] == [1, 2, 0]


@pytest.mark.parametrize("temperature", [0.5, 2.0, 10.0])
def test_temperature_is_softmax_of_log_p_over_t(temperature: float) -> None:
    p = probabilities(0.7, 0.2, 0.1)
    found = most_likely(p, NAMES, top_k=3, temperature=temperature)
    raised = p.astype(np.float64) ** (1 / temperature)
    assert [label.score for label in found] == pytest.approx(list(raised / raised.sum()))


@settings(max_examples=100, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=40, unique=True),
    temperature=st.floats(1e-6, 100),
)
def test_temperature_keeps_the_order_and_the_sum(logits: list[float], temperature: float) -> None:
    raised = np.exp(np.array(logits) - max(logits))
    p = raised / raised.sum()
    found = most_likely(p, NAMES, top_k=len(logits), temperature=temperature)
    assert sum(label.score for label in found) == pytest.approx(1.0)
    scores = {label.class_id: label.score for label in found}
    by_p = np.argsort(p)
    assert all(scores[int(a)] <= scores[int(b)] for a, b in itertools.pairwise(by_p))


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-30, 0.01, 100.0])
def test_probabilities_that_underflowed_stay_finite_and_last(temperature: float) -> None:
    found = most_likely(probabilities(0.0, 0.9, 0.1, 0.0), NAMES, top_k=4, temperature=temperature)
    assert found[0].class_id == 1
    assert all(math.isfinite(label.score) for label in found)
    assert [label.class_id for label in found] == [1, 2, 0, 3]
    assert sum(label.score for label in found) == pytest.approx(1.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_is_the_model_s_failure(broken: float) -> None:
    with pytest.raises(EngineFailed):
        check_classified({"probabilities": probabilities(0.5, broken)})


@pytest.mark.parametrize("top_k", [0, -1, 6, 5000])
def test_top_k_outside_the_model_s_classes_names_field_and_limit(top_k: int) -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_top_k(top_k, 5, "tiny")
    assert (raised.value.field, raised.value.limit) == ("top_k", "1..5")


@pytest.mark.parametrize("top_k", [1, 5])
def test_top_k_at_its_limits_is_accepted(top_k: int) -> None:
    check_top_k(top_k, 5, "tiny")
