"""What a call may say beside the picture, as keyword arguments; left out or None, the gateway's defaults hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_type_hints

Tier = Literal["realtime", "interactive", "standard", "relaxed", "batch"]
Task = Literal["classify", "detect", "segment"]
Kind = Literal["semantic", "instance", "panoptic"]


class Options(TypedDict, total=False):
    """For every call.

    budget_ms       answer within so many milliseconds; or by name: tier
    model           this model, or any variant of it, instead of the router's choice
    min_accuracy    never a model below it, in percent
    on_infeasible   if no model surely makes it: `degrade` to the fastest, or `reject`
    late            an answer that misses the budget: `drop` it, or `return` it all the same
    priority        1 is served first, 3 is shed first
    timeout_s       how long this call may take in all, retries included; the client's if left out
    """

    budget_ms: float | None
    tier: Tier | None
    model: str | None
    min_accuracy: float | None
    on_infeasible: Literal["degrade", "reject"] | None
    late: Literal["drop", "return"] | None
    priority: int | None
    timeout_s: float | None


class ClassifyOptions(Options, total=False):
    """top_k: how many classes. temperature: above 1 flatter. strategy: `cascade` asks the cheapest model first."""

    top_k: int | None
    temperature: float | None
    strategy: Literal["single", "cascade"] | None


class EmbedOptions(Options, total=False):
    """normalise: scale each vector to length 1."""

    normalise: bool | None


class DetectOptions(Options, total=False):
    """score_threshold: 0..1. max_detections: the surest. classes: only these names, `person,dog` or a list."""

    score_threshold: float | None
    max_detections: int | None
    classes: str | list[str] | None


class SegmentOptions(DetectOptions, total=False):
    """kind: `semantic` a class for every pixel, `instance` a mask for every thing, `panoptic` both."""

    kind: Kind | None


class RouteOptions(Options, total=False):
    """task: what the model should do. kind: with `segment`."""

    task: Task | None
    kind: Kind | None


def params_of(call: str, given: Mapping[str, Any], known: type, tier: Tier | None) -> dict[str, Any]:
    """The query string: what was given, under the names of the API, and the client's tier if no budget was.

    Raises TypeError for an option that the call does not have.
    """
    unknown = sorted(given.keys() - get_type_hints(known).keys())
    if unknown:
        raise TypeError(f"{call}() has no option {unknown[0]!r}")
    params = {name: value for name, value in given.items() if value is not None and name != "timeout_s"}
    if tier is not None and not {"tier", "budget_ms"} & params.keys():
        params["tier"] = tier
    if "budget_ms" in params:
        params["latency_budget_ms"] = params.pop("budget_ms")
    if isinstance(params.get("classes"), list):
        params["classes"] = ",".join(params["classes"])
    return params
