"""vision-eval: data sets read as they lie, scores that are right by hand, a gateway asked through HTTP."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from evaluation.__main__ import app
from evaluation.client import Run
from evaluation.samples import DatasetError, Part, labelled, parse_part, scenes, things
from evaluation.scores import Overlap, average_precision
from evaluation.tasks import find_things, map_scenes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DOCUMENT: dict[str, Any] = {
    "info": {},
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 7, "name": "Person"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 2, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0},
    ],
}


def found(image_id: int, *bbox: float, score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 7, "score": score, "bbox": list(bbox)}


def test_finding_everything_is_100_half_of_it_half_and_nothing_0() -> None:
    both = [found(1, 2, 2, 10, 10), found(2, 5, 5, 10, 10)]
    assert average_precision(DOCUMENT, both, "bbox")["AP50"] == pytest.approx(100)
    assert average_precision(DOCUMENT, both[:1], "bbox")["AP50"] == pytest.approx(50, abs=1)
    assert average_precision(DOCUMENT, [], "bbox") == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


def test_overlap_is_counted_by_class_over_all_pixels_and_void_is_not() -> None:
    overlap = Overlap(["road", "sky", "never"])
    overlap.add(np.array([[0, 0, 1, 9]]), np.array([[0, 1, 1, 0]]))
    overlap.add(np.array([[1]]), np.array([[255]]))  # left without a class
    scores = overlap.scores()
    assert scores == {"mIoU": pytest.approx((50 + 100 / 3) / 2), "road": 50.0, "sky": pytest.approx(100 / 3)}


@pytest.mark.parametrize(("text", "numbers"), [("1/1", [0, 1, 2, 3, 4, 5]), ("5/5", [4]), ("2/3", [1, 4])])
def test_a_part_is_every_nth(text: str, numbers: list[int]) -> None:
    assert parse_part(text).of_list(list(range(6))) == numbers


def test_a_part_without_pictures_is_said_at_once() -> None:
    with pytest.raises(DatasetError, match="6 pictures"):
        Part(7, 9).of_list(list(range(6)))


@pytest.mark.parametrize("text", ["", "5", "0/5", "6/5", "a/b", "1/0"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"part|invalid literal"):
        parse_part(text)


def test_labels_are_read_in_the_order_of_file_names(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,class_id\nb.jpg,3\na.jpg,5\n")
    assert labelled(tmp_path, Part()) == [(tmp_path / "images/a.jpg", 5), (tmp_path / "images/b.jpg", 3)]
    with pytest.raises(DatasetError, match=r"labels\.csv"):
        labelled(tmp_path / "elsewhere", Part())


def people_folder(folder: Path) -> Path:
    """One picture with one person, whose mask is value 3 of its PNG."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    Image.new("RGB", (20, 10)).save(folder / "images/a.png")
    mask = np.zeros((10, 20), np.uint8)
    mask[2:8, 4:9] = 3
    Image.fromarray(mask).save(folder / "masks/a.png")
    image = {"id": 1, "file_name": "a.png", "mask": "a.png", "height": 10, "width": 20}
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1], "area": 1, "mask_value": 3}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 7, "name": "person"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_a_mask_in_a_png_becomes_its_annotation(tmp_path: Path) -> None:
    truth = things(people_folder(tmp_path), "annotations.json", Part())
    (annotation,) = truth.document["annotations"]
    assert annotation["bbox"] == [4, 2, 5, 6]
    assert annotation["area"] == 30


@dataclass(frozen=True)
class Answering:
    """A gateway whose answer is given."""

    answer: dict[str, Any]
    query: dict[str, str] = field(default_factory=dict)

    def ask(self, task: str, pictures: list[Any], take: Any, console: Console) -> Run:
        for key, _ in pictures:
            take(key, self.answer)
        return Run()


def test_what_is_found_exactly_scores_100_and_other_labels_do_not_count(tmp_path: Path) -> None:
    folder = people_folder(tmp_path)
    truth = things(folder, "annotations.json", Part())
    rle = truth.document["annotations"][0]["segmentation"]
    box = {"xmin": 4, "ymin": 2, "xmax": 9, "ymax": 8}
    person = {
        "label": "Person",
        "score": 0.8,
        "box": box,
        "rle": {"size": rle["size"], "counts": rle["counts"].decode()},
    }
    gateway: Any = Answering({"predictions": [person, {**person, "label": "dog"}]})
    report = find_things(gateway, folder, "annotations.json", Part(), "segment", Console())
    assert [report.scores[name] for name in ("box AP50", "mask AP")] == pytest.approx([100, 100])


def test_maps_are_compared_with_the_data_set_s(tmp_path: Path) -> None:
    (tmp_path / "val/images").mkdir(parents=True)
    (tmp_path / "val/masks").mkdir()
    (tmp_path / "classes.json").write_text('["road", "void"]')
    Image.new("RGB", (4, 4)).save(tmp_path / "val/images/a.png")
    Image.new("L", (4, 4), 0).save(tmp_path / "val/masks/a.png")
    truth = scenes(tmp_path / "val", Part())
    assert truth.names == ["road", "void"]
    assert truth.pictures == [(tmp_path / "val/images/a.png", tmp_path / "val/masks/a.png")]
    with pytest.raises(DatasetError):
        scenes(tmp_path / "nowhere", Part())
    png = io.BytesIO()
    Image.new("L", (4, 4), 0).save(png, "PNG")
    gateway: Any = Answering({"class_map": base64.b64encode(png.getvalue()).decode()})
    assert map_scenes(gateway, tmp_path / "val", Part(), Console()).scores == {"mIoU": 100.0, "road": 100.0}


def test_void_keeps_its_id_wherever_it_is_listed() -> None:
    overlap = Overlap(["void", "road", "sky"])
    overlap.add(np.array([[0, 1, 1, 2]]), np.array([[1, 1, 0, 2]]))  # the third answer says void, and is wrong
    assert overlap.scores() == {"mIoU": 75.0, "road": 50.0, "sky": 100.0}


def test_a_gateway_that_is_not_there_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("file,class_id\na.png,0\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "images/a.png")
    result = CliRunner().invoke(app, ["classify", str(tmp_path), "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert "does not answer" in result.output


@pytest.mark.parametrize(
    ("arguments", "status"), [(("detect",), 2), (("segment", "--kind", "instance"), 2), (("classify",), 1)]
)
def test_without_pycocotools_only_what_it_scores_is_refused_in_a_sentence(
    arguments: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    without = "import sys; sys.modules['pycocotools'] = None; from evaluation.__main__ import main; main()"
    command = [sys.executable, "-c", without, arguments[0], str(tmp_path), *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    # Classes need it not: there it is the empty folder that is wrong.
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert ("-e '.[eval]'" in said) is (status == 2)
