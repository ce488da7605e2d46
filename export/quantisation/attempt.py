"""One INT8 variant as a run sees it: asked for, up to date, made, or refused in one sentence."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from export.catalogue.row import Row
from export.errors import ExportError, GateFailure, RepositoryError
from export.outcome import Outcome, Plan, State
from export.quantisation.held_out import demand
from export.quantisation.identity import NoRanges, fitting_ranges, int8_name, int8_recipe, of_own_pictures
from export.repository import entry_made_by, withdraw
from export.steps import Say
from service.entry_config import read_entry
from service.errors import InvalidEntry
from service.manifest import ModelCard


class NameTaken(ExportError):
    """Where the variant would go is an entry that is none of this model's."""


def attempt_int8(row: Row, fp32: ModelCard, plan: Plan, say: Say) -> Outcome:
    """What became of the row's INT8 variant. A refusal is `failed` only where the variant was asked for.

    Where it is only offered, one that was calibrated on the user's own pictures stays: nobody else can make it again.

    fp32    the card of the row's entry in the plan's repository
    """
    start_s = time.monotonic()
    demanded = row.name in plan.int8

    def outcome(state: State, reason: str = "", card: ModelCard | None = None) -> Outcome:
        return Outcome(int8_name(row.name), state, time.monotonic() - start_s, reason, _command(row, plan), card)

    try:
        require_own_place(fp32, plan.repository, int8_name(row.name))
        own = None if demanded else _calibrated_by_the_user(fp32, plan.repository)
        if own is not None:
            return outcome("skipped", "it was calibrated on other pictures than the project's, and stays.", own)
        recipe = int8_recipe(fp32, plan.calibration)
        card = None if plan.force else entry_made_by(plan.repository, int8_name(row.name), {recipe})
        if card is not None:
            return outcome("up to date", card=card)
        if plan.calibration is None:
            demand(fitting_ranges(fp32).measured)
        # torch, timm and ONNX Runtime take seconds to import: only when something is really made.
        from export.quantisation.variant import export_int8

        return outcome("exported", card=export_int8(row, plan.repository, plan.calibration, say))
    except (NameTaken, NoRanges) as err:
        return outcome("failed" if demanded else "skipped", str(err))
    except GateFailure as err:
        return outcome("failed" if demanded else "not published", str(err))
    except ExportError as err:
        return outcome("failed", str(err))
    except Exception as err:  # whatever a library raised: the other rows must still get their turn
        return outcome("failed", f"{type(err).__name__}: {err}")


def _calibrated_by_the_user(fp32: ModelCard, repository: Path) -> ModelCard | None:
    """The card of the INT8 variant, if it is whole, of the same weights, and of pictures of the user's own."""
    try:
        variant = read_entry(repository / int8_name(fp32.name))
    except InvalidEntry:
        return None
    if variant.weights != fp32.weights or not of_own_pictures(variant):
        return None
    return entry_made_by(repository, variant.name, {variant.recipe})


def require_own_place(fp32: ModelCard, repository: Path, variant_name: str) -> None:
    """Returns if the variant may be written. Raises NameTaken if that would replace an entry of another model."""
    try:
        there = read_entry(repository / variant_name)
    except InvalidEntry:
        return
    if there.variant_of != fp32.variant_of:
        raise NameTaken(f"there is an entry {variant_name} that is no variant of {fp32.variant_of}; it stays.")


def withdraw_stranger(fp32: ModelCard, repository: Path, variant_name: str = "") -> str:
    """A sentence if the variant was of other weights than the entry now has, and so was removed; else empty.

    Whoever asks for the model by name may be answered by any variant of it: they must be the same model. An entry of
    that name which is a variant of another model stays.
    variant_name    of the INT8 variant if left out
    """
    name = variant_name or int8_name(fp32.name)
    try:
        variant = read_entry(repository / name)
    except InvalidEntry:
        return ""
    if variant.variant_of != fp32.variant_of or variant.weights == fp32.weights:
        return ""
    try:
        withdraw(repository, name)
    except RepositoryError as err:
        return str(err)
    return f"{name}: removed, it was made from other weights."


def _command(row: Row, plan: Plan) -> str:
    words = ["vision-export", row.name, "--precision", "int8", "--repository", str(plan.repository)]
    if plan.weights.kind != "first":
        words += ["--weights", plan.weights.argument]
    if plan.calibration is not None:
        words += ["--calibration", str(plan.calibration)]
    return shlex.join([*words, "--force"] if plan.force else words)
