"""A model that answers in another shape, or with what are no probabilities, is a 500: never a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engines.fake import FakeEngine
from service.engines.protocol import Job, Outputs
from service.errors import EngineFailed, UnknownModel
from service.graph_contract import check_outputs
from service.images import Geometry
from service.settings import Settings
from service.tasks.classify import check_classified
from service.tasks.detect import Wanted, find
from tests.cards import LABELS, classifier
from tests.conftest import FakeGateways
from tests.pictures import encoded, photograph

CARD = classifier()
JPEG = {"Content-Type": "image/jpeg"}


def probabilities(*shape: int, dtype: Any = np.float32) -> dict[str, NDArray[np.generic] | None]:
    return {"probabilities": np.zeros(shape, dtype)}


def test_what_the_card_says_passes() -> None:
    check_outputs(CARD, probabilities(2, 1000), 2)


@pytest.mark.parametrize(
    "arrays",
    [
        probabilities(1, 1000),
        probabilities(2, 999),
        probabilities(2, 1001),
        probabilities(2000),
        probabilities(2, 1000, 1),
        probabilities(2, 1000, dtype=np.float64),
        {"probabilities": None},
        {"no such output": np.zeros((2, 3), np.float32)},
    ],
)
def test_any_other_shape_or_type_is_a_failure(arrays: dict[str, NDArray[np.generic] | None]) -> None:
    with pytest.raises(EngineFailed):
        check_outputs(CARD, arrays, 2)


@pytest.mark.parametrize("values", [[np.nan, 0.5], [np.inf, 0.0], [0.4, 0.4], [1.5, -0.5], [8.0, -3.0], [0.0, 0.0]])
def test_what_are_no_probabilities_give_no_labels(values: list[float]) -> None:
    with pytest.raises(EngineFailed):
        check_classified({"probabilities": np.array(values)})


@pytest.mark.parametrize("score", [np.nan, np.inf, 1.5])
def test_what_are_no_scores_give_no_boxes(score: float) -> None:
    geometry = Geometry(image_hw=(64, 64), model_hw=(64, 64), scale_yx=(1.0, 1.0), offset_yx=(0.0, 0.0))
    arrays = {
        "boxes": np.array([[0.1, 0.1, 0.5, 0.5]], np.float32),
        "scores": np.array([score], np.float32),
        "classes": np.array([0], np.int32),
    }
    with pytest.raises(EngineFailed):
        find(arrays, geometry, LABELS, Wanted(0.1, 10))


class Unloading(FakeEngine):
    """Has unloaded the larger model since the gateway last looked."""

    async def infer(self, job: Job) -> Outputs:
        if job.model == "fake_large":
            raise UnknownModel("no model 'fake_large' is loaded", field="model")
        return await super().infer(job)


async def test_who_named_no_model_is_answered_by_another_when_the_chosen_one_has_gone() -> None:
    cards = [classifier("fake_large", accuracy=76.0), classifier("fake_small", accuracy=70.0)]
    settings = Settings(workers=2, poll_interval_s=30)
    async with FakeGateways(settings, Unloading(cards)) as gateway:
        picture = encoded(photograph())
        url = "/v1/classify?latency_budget_ms=20000"
        for _ in range(2):
            answer = await gateway.client.post(url, content=picture, headers=JPEG)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"]["name"] == "fake_small"
        named = await gateway.client.post(f"{url}&model=fake_large", content=picture, headers=JPEG)
        assert named.status_code in (404, 503), "who named it is told"
        assert await gateway.metric("vision_in_flight_requests") == 0


async def test_an_entry_with_another_number_of_classes_than_labels_is_not_served() -> None:
    odd = classifier("odd", outputs=(CARD.outputs[0].__class__("probabilities", "FP32", (999,)),))
    async with FakeGateways(Settings(workers=1), FakeEngine([odd, classifier("fine")])) as gateway:
        answer = await gateway.client.get("/v1/models")
        assert [model["name"] for model in answer.json()["models"] if model.get("loaded", True)] == ["fine"]
