"""One small member of every family, random seeded weights, through the gates: at batch 1, 2 and 7 in ONNX Runtime.

All the others are the same test with `-m slow`; `vision-export --all` does the same and keeps the table.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.catalogue.registry import CATALOGUE, FAMILIES
from export.catalogue.row import Row
from export.export_row import make_graph
from export.sources import RandomWeights
from export.verify import GATES
from export.weights import load
from service.entry_files import onnx_path

pytestmark = [
    # torch's exporters use what their own next version will not have, and the older one warns of what it traces.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
    pytest.mark.timeout(1800),
]

CLASSIFIERS = {name: row for name, row in CATALOGUE.items() if row.task == "classify"}
# One of every file of the catalogue: the smallest, or the one with most that the others have not.
SMALL = (
    "lenet5",
    "alexnet_2012",
    "nin_imagenet",
    "highway19_cifar10",
    "resdropresnet20_cifar10",
    "densenet40_k12_plain_cifar10",
    "squeezenet1_0_complex_bypass",
    "mobilenet_v1_025_128",
    "mobilenet_v2_035_96",
    "effnet_cifar10",
    "shufflenet_v2_x0_5",
    "condensenet74_c8_g8",
    "se_bn_inception",
    "mnasnet_small",
    "fbnet_a",
    "mobilenet_v3_small_minimal",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
)
# Too large for the default run: 133 million parameters, and 448 pixels. test_export_for_serving has BiT's stem.
LARGE_FAMILIES = ("vgg11", "resnetv2_50x1_bit")
# test_export_parity exports it with its real weights.
ELSEWHERE = ("efficientnet_lite0",)
# The last test of this file.
WITH_AUXILIARIES = "googlenet"


def quiet(step: str) -> None:
    pass


def passes(row: Row, folder: Path) -> None:
    onnx_path(folder).parent.mkdir(parents=True)
    graph = make_graph(row, load(row, (RandomWeights(),)), folder, quiet)
    assert [gate for gate, _ in graph.results][: len(GATES)] == [gate for gate, _ in GATES]
    assert dict(graph.results)["batch"] == "ran at 1, 2, 7"


@pytest.mark.parametrize("name", SMALL)
def test_a_small_member_of_the_family_passes_every_gate(name: str, tmp_path: Path) -> None:
    passes(CLASSIFIERS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in (*SMALL, WITH_AUXILIARIES)])
def test_the_others_pass_too(name: str, tmp_path: Path) -> None:
    passes(CLASSIFIERS[name], tmp_path)


def test_no_family_is_left_out() -> None:
    covered = {*SMALL, *LARGE_FAMILIES, *ELSEWHERE, WITH_AUXILIARIES}
    classifying = [family for family in FAMILIES if family[0].task == "classify"]
    assert [family[0].family for family in classifying if not covered & {row.name for row in family}] == []


def test_auxiliary_classifiers_are_not_in_the_graph(tmp_path: Path) -> None:
    row = CLASSIFIERS[WITH_AUXILIARIES]
    passes(row, tmp_path)
    model = onnx.load(onnx_path(tmp_path))
    floats = sum(len(tensor.raw_data) // 4 for tensor in model.graph.initializer)
    assert floats < 1.01 * row.params_millions * 1e6
