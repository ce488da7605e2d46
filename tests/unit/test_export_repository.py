"""Entries appear whole or not at all, and are made again only if something they are made from has changed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from export.catalogue.registry import find
from export.catalogue.row import Row
from export.errors import RepositoryError
from export.repository import publish, recipe, staging, sweep, up_to_date
from export.sources import RandomWeights, Source
from service.entry_config import write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import ModelCard, TensorSpec, Weights

ROW = find("mobilenet_v2")
SOURCE: Source = RandomWeights()


def card(row: Row, onnx_file: Path, source: Source = SOURCE) -> ModelCard:
    return ModelCard(
        name=row.name,
        variant_of=row.name,
        task=row.task,
        family=row.family,
        precision="fp32",
        backend="onnxruntime",
        max_batch_size=row.batch_limit,
        resize=row.resize,
        outputs=(TensorSpec("probabilities", "FP32", (1000,)),),
        label_set=row.label_set,
        label_names=(),
        accuracy=None,
        weights=Weights("untrained", "random", "none", ""),
        params=1,
        flops=1,
        onnx_sha256=file_sha256(onnx_file),
        onnx_bytes=onnx_file.stat().st_size,
        verification=(),
        profile=None,
        recipe=recipe(row, source),
    )


def make(repository: Path, content: bytes = b"a graph") -> Path:
    with staging(repository, ROW.name) as folder:
        onnx_path(folder).write_bytes(content)
        write_entry(card(ROW, onnx_path(folder)), folder)
        return publish(folder, repository, ROW.name)


def names(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir()}


LEFT = "0123456789abcdef"


def test_an_entry_is_published_and_nothing_else_is_left(tmp_path: Path) -> None:
    entry = make(tmp_path / "new" / "repository")
    assert onnx_path(entry).read_bytes() == b"a graph"
    assert names(entry.parent) == {ROW.name}


def test_an_entry_is_replaced(tmp_path: Path) -> None:
    make(tmp_path)
    assert onnx_path(make(tmp_path, b"another")).read_bytes() == b"another"
    assert names(tmp_path) == {ROW.name}


def test_a_failure_leaves_the_old_entry_alone(tmp_path: Path) -> None:
    entry = make(tmp_path)
    with pytest.raises(ZeroDivisionError), staging(tmp_path, ROW.name):
        1 / 0  # noqa: B018
    assert onnx_path(entry).read_bytes() == b"a graph"
    assert names(tmp_path) == {ROW.name}


def test_a_repository_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RepositoryError, match="cannot be written"), staging(tmp_path / "file", "x"):
        pass


def test_same_row_weights_and_exporter_are_up_to_date(tmp_path: Path) -> None:
    make(tmp_path)
    assert up_to_date(tmp_path, ROW, (SOURCE,)) is not None


def test_any_of_the_sources_will_do(tmp_path: Path) -> None:
    make(tmp_path)
    assert up_to_date(tmp_path, ROW, (*ROW.weights, SOURCE)) is not None
    assert up_to_date(tmp_path, ROW, ROW.weights) is None


def test_another_row_is_not_up_to_date(tmp_path: Path) -> None:
    make(tmp_path)
    assert up_to_date(tmp_path, replace(ROW, mean=(0.5, 0.5, 0.5)), (SOURCE,)) is None
    assert up_to_date(tmp_path, replace(ROW, batch_limit=8), (SOURCE,)) is None


def test_another_exporter_is_not_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    monkeypatch.setattr("export.repository.EXPORTER_VERSION", 1_000_000)
    assert up_to_date(tmp_path, ROW, (SOURCE,)) is None


@pytest.mark.parametrize("damage", ["changed graph", "no graph", "no card", "broken card", "nothing"])
def test_a_damaged_entry_is_not_up_to_date(tmp_path: Path, damage: str) -> None:
    entry = make(tmp_path)
    match damage:
        case "changed graph":
            onnx_path(entry).write_bytes(b"another graph")
        case "no graph":
            onnx_path(entry).unlink()
        case "no card":
            (entry / "config.pbtxt").unlink()
        case "broken card":
            (entry / "config.pbtxt").write_text("{{{")
        case "nothing":
            entry.rename(tmp_path / "elsewhere")
    assert up_to_date(tmp_path, ROW, (SOURCE,)) is None


def test_leftovers_of_killed_runs_are_swept(tmp_path: Path) -> None:
    make(tmp_path)
    for kind in ("staging", "old"):
        (tmp_path / f".{kind}-{ROW.name}-{LEFT}" / "1").mkdir(parents=True)
    sweep(tmp_path)
    assert names(tmp_path) == {ROW.name}


def test_what_killed_containers_left_is_swept_though_their_process_id_is_ours(tmp_path: Path) -> None:
    """In a container the exporter is always process 1, and earlier versions named folders for it."""
    (tmp_path / f".staging-{ROW.name}-{os.getpid()}" / "1").mkdir(parents=True)
    make(tmp_path).rename(tmp_path / f".old-{ROW.name}-{os.getpid()}")
    sweep(tmp_path)
    assert names(tmp_path) == {ROW.name}


def test_the_work_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".something-else").mkdir()
    with staging(tmp_path, ROW.name) as folder:
        sweep(tmp_path)
        assert onnx_path(folder).parent.is_dir()
        assert names(tmp_path) == {folder.name, ".something-else"}


def test_the_work_of_a_process_that_was_killed_is_swept_once_it_is_gone(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from export.repository import staging
with staging(Path({str(tmp_path)!r}), {ROW.name!r}):
    print("made", flush=True)
    sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == b"made\n"
        sweep(tmp_path)
        assert len(names(tmp_path)) == 1
        child.kill()
    sweep(tmp_path)
    assert names(tmp_path) == set()


def test_two_runs_of_one_row_have_a_folder_each(tmp_path: Path) -> None:
    with staging(tmp_path, ROW.name) as one, staging(tmp_path, ROW.name) as other:
        assert one != other
        assert onnx_path(one).parent.is_dir()


def test_the_entry_that_is_being_replaced_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    rename = Path.rename

    def sweeping(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if target.name.startswith(".old-"):
            sweep(tmp_path)
            assert target.is_dir()
        return moved

    monkeypatch.setattr(Path, "rename", sweeping)
    assert onnx_path(make(tmp_path, b"another")).read_bytes() == b"another"
    assert names(tmp_path) == {ROW.name}


def test_where_nothing_can_be_locked_leftovers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("export.folder_lock.fcntl.flock", refuse)
    make(tmp_path)
    (tmp_path / f".staging-{ROW.name}-{LEFT}").mkdir()
    sweep(tmp_path)
    assert len(names(tmp_path)) == 2


def test_an_entry_renamed_away_by_a_killed_run_is_put_back(tmp_path: Path) -> None:
    make(tmp_path).rename(tmp_path / f".old-{ROW.name}-{LEFT}")
    sweep(tmp_path)
    assert up_to_date(tmp_path, ROW, (SOURCE,)) is not None


def test_sweeping_a_repository_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "none")
