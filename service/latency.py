"""What a request would take now, on each model: numbers in, milliseconds out, the clock never read.

    expected  = spent + wait + own        own = decode + run + post        wait = gateway + factor · backlog
    predicted = expected + margin · √((spread · own)² + doubt²)

`run` is the export profile α + β·rows, scaled by how this machine compares with the one that was profiled. `backlog` is
what the engine counts before the request; `factor` is by how much waits are longer here: for all that the machine does
beside, and for those who come later and go first. So it is learnt for each length of budget.

An error is laid where it arose: `spread` is the mean error of the request's own work, relative to its length, `doubt`
that of its wait (service/waits.py). A queue that was slower than it looked makes waits uncertain, and nothing that does
not wait. `margin` is how many such errors a promise leaves room for: moved a little by every answer, up when the
prediction was too short and down when it was not. Whatever the errors look like, the share of predictions that hold
then tends to 95 %, as long as it keeps being told the truth.

Source of the rule: online gradient descent on the pinball loss (quantile tracking), as in Angelopoulos, Candès,
Tibshirani 2023, Conformal PID control for time series prediction, section 2.1; here on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from service.headroom import Headroom
from service.image_header import ImageFormat, ImageHeader
from service.manifest import ModelCard, ResizeRule
from service.prior_times import Post, decode_prior_ms, post_prior_ms
from service.tracked import WORST, Floats, TrackedMean, TrackedQuantile
from service.variants import TrackedColumn, Variants
from service.waits import QUEUED_MS, TrackedWait

_FIRST_SPREAD = 0.15
_LEAST_SPREAD = 0.02
_LAST = 1000


@dataclass(frozen=True, slots=True)
class Promise:
    """What was known of one request when it was admitted, for the predictor to learn from when it has ended."""

    budget_ms: float
    spent_ms: float
    backlog_ms: float
    alone_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """One row per variant, (V,) milliseconds from the request's headers on.

    p95_ms  holds for 95 % of such requests    p50_ms  typical       unloaded_ms  typical, were nobody else there
    run_ms  the model's own runs    work_ms  decode, runs and what comes after, processor time of all pictures together
    expected_ms  wait + decode + run + post, before any margin      alone_ms  the same without the wait
    headroom  share of what remains of the budget that is to be left free
    backlog_ms  (V,) or one for all: what the engine counts before it
    wait_ms  the part of it that is there whatever the model, as this machine takes it
    overtaken_ms  the part of unloaded_ms that nobody with the shortest budgets would wait
    """

    p95_ms: Floats
    p50_ms: Floats
    unloaded_ms: Floats
    run_ms: Floats
    work_ms: Floats
    expected_ms: Floats
    alone_ms: Floats
    spent_ms: float
    wait_ms: float
    headroom: float
    backlog_ms: Floats | float = 0.0
    budget_ms: float = math.inf
    overtaken_ms: float = 0.0

    def promise(self, index: int) -> Promise:
        """What the request is told if it goes to that variant."""
        backlog_ms = self.backlog_ms if isinstance(self.backlog_ms, float) else float(self.backlog_ms[index])
        alone_ms, p95_ms = float(self.alone_ms[index]), float(self.p95_ms[index])
        return Promise(self.budget_ms, self.spent_ms, backlog_ms, alone_ms, p95_ms)


class Predictor:
    """Learns how long decoding and each model take here, on `workers` cores, and how far predictions are off."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._decode = {name: TrackedQuantile(0.5, 1.0, step=0.01, first_step=0.5) for name in get_args(ImageFormat)}
        self._post = {post: TrackedQuantile(0.5, 1.0, step=0.01, first_step=0.5) for post in get_args(Post)}
        self._run = TrackedColumn(0.5, 1.0, step=0.01, first_step=0.5)
        # One for all models: the fastest is taken when time is short, so a margin of its own would grow until a slower
        # one seemed to be in time where the fastest is not.
        self._spread = TrackedMean(_FIRST_SPREAD, weight=30)
        self._waits: dict[int, TrackedWait] = {}
        # Of those whom nobody overtakes: the others' says how busy the gateway is, not how slow. Known when it changes,
        # for it is asked with every request.
        self._least_own_ms = 0.0
        self._typical = TrackedQuantile(0.5, 1.0, step=0.02, first_step=0.1)
        self._headroom = Headroom()
        self._last_run_s: dict[str, float] = {}
        self._held: deque[bool] = deque(maxlen=_LAST)
        self._held_count = 0

    def decode_ms(self, header: ImageHeader, rule: ResizeRule) -> float:
        """Typical time to decode and resize the picture for a model with that rule, on one core."""
        return decode_prior_ms(header, rule) * self._decode[header.format].value

    def post_ms(self, header: ImageHeader, post: Post) -> float:
        """Typical time to make the answer of the model's outputs, on one core."""
        return post_prior_ms(header, post) * self._post[post].value

    def run_ms(self, card: ModelCard, rows: int) -> float:
        """Typical time of one run of `rows` pictures, on one core; 0.0 for a model that was never profiled."""
        if card.profile is None:
            return 0.0
        return (card.profile.alpha_ms + card.profile.beta_ms * rows) * self._run.value(card.name)

    def estimate(
        self,
        variants: Variants,
        headers: list[ImageHeader],
        *,
        spent_ms: float,
        wait_ms: float,
        wait_ms_by_model: Mapping[str, float],
        budget_ms: float = math.inf,
        post: Post = "nothing",
    ) -> Estimates:
        """What the request with these pictures would take on each variant.

        wait_ms, wait_ms_by_model  the backlog as the engine counts it
        budget_ms  waits are learnt for each length of budget: the shorter goes first
        """
        # Each array made here holds up the event loop, and for a moment whoever wants the interpreter: hence the ifs.
        pictures = len(headers)
        decode_by_rule = [sum(self.decode_ms(header, rule) for header in headers) for rule in variants.rules]
        run_ms = variants.one_row_ms * self._run.values(variants)
        if pictures > 1:
            run_ms *= pictures
        work_ms = run_ms + (np.array(decode_by_rule)[variants.rule] if len(decode_by_rule) > 1 else decode_by_rule[0])
        if post != "nothing":
            work_ms += sum(self.post_ms(header, post) for header in headers)
        beside = min(self._workers, pictures)
        alone_ms = work_ms / beside if beside > 1 else work_ms
        return self._estimates(variants, run_ms, work_ms, alone_ms, spent_ms, wait_ms, wait_ms_by_model, budget_ms)

    def estimate_batch(
        self,
        variants: Variants,
        rows: int,
        *,
        spent_ms: float,
        wait_ms: float,
        wait_ms_by_model: Mapping[str, float],
        budget_ms: float = math.inf,
    ) -> Estimates:
        """What one run of that many rows would take on each variant: nothing to decode, nothing to do afterwards."""
        run_ms = (variants.alpha_ms + variants.beta_ms * rows) * self._run.values(variants)
        return self._estimates(variants, run_ms, run_ms, run_ms, spent_ms, wait_ms, wait_ms_by_model, budget_ms)

    def _estimates(
        self,
        variants: Variants,
        run_ms: Floats,
        work_ms: Floats,
        alone_ms: Floats,
        spent_ms: float,
        wait_ms: float,
        wait_ms_by_model: Mapping[str, float],
        budget_ms: float,
    ) -> Estimates:
        wait = self._wait(budget_ms)
        backlog_ms: Floats | float = float(wait_ms)
        if wait_ms_by_model:
            backlog_ms = wait_ms + np.array([wait_ms_by_model.get(name, 0.0) for name in variants.names])
        behind_ms = wait.factor * backlog_ms
        expected_ms = alone_ms + (behind_ms + wait.own_ms)
        doubt_ms = np.hypot(self._spread_own * alone_ms, wait.doubt_ms(behind_ms))
        typical = self._typical.value
        return Estimates(
            p95_ms=expected_ms + (wait.margin(behind_ms) * doubt_ms + spent_ms),
            p50_ms=expected_ms * typical + spent_ms,
            unloaded_ms=(alone_ms + wait.own_ms) * typical,
            run_ms=run_ms,
            work_ms=work_ms,
            expected_ms=expected_ms,
            alone_ms=alone_ms,
            spent_ms=spent_ms,
            wait_ms=wait.factor * wait_ms,
            headroom=self._headroom.share,
            backlog_ms=backlog_ms,
            budget_ms=budget_ms,
            overtaken_ms=max(0.0, wait.own_ms - self._least_own_ms) * typical,
        )

    @property
    def _spread_own(self) -> float:
        return max(_LEAST_SPREAD, self._spread.value)

    def _wait(self, budget_ms: float) -> TrackedWait:
        row = octave(budget_ms)
        wait = self._waits.get(row)
        if wait is None:  # made only where it is needed: this is asked three times a request
            wait = self._waits[row] = TrackedWait()
        return wait

    def observe_decode(self, header: ImageHeader, rule: ResizeRule, took_ms: float) -> None:
        self._decode[header.format].observe(took_ms / decode_prior_ms(header, rule))

    def observe_post(self, header: ImageHeader, post: Post, took_ms: float) -> None:
        self._post[post].observe(took_ms / max(1e-3, post_prior_ms(header, post)))

    def observe_run(self, card: ModelCard, rows: int, took_ms: float, now_s: float) -> None:
        """Tells how long one run of `rows` pictures took; `now_s` is the caller's clock."""
        self._last_run_s[card.name] = now_s
        if card.profile is None:
            return
        self._run.observe(card.name, took_ms / (card.profile.alpha_ms + card.profile.beta_ms * rows))

    def observe_request(
        self, promise: Promise, *, took_ms: float, worked_ms: float | None = None, late: bool = False
    ) -> None:
        """Tells how long a request took in all, beside what was promised when it was admitted.

        worked_ms  its own decoding, runs and what came after, where that can be told from waiting
        late       no answer came within the budget; without worked_ms, took_ms is the least it would have taken
        """
        self._headroom.observe(p95_ms=promise.p95_ms, budget_ms=promise.budget_ms, late=late)
        if len(self._held) == _LAST:
            self._held_count -= self._held[0]
        self._held.append(took_ms <= promise.p95_ms)
        self._held_count += took_ms <= promise.p95_ms
        # Judged by what is known today, not by what was promised: under overload hundreds of broken promises come back
        # at once, and if each raised the margin again it would be far too wide for minutes.
        wait = self._wait(promise.budget_ms)
        behind_ms = wait.factor * promise.backlog_ms
        expected_ms = promise.alone_ms + behind_ms + wait.own_ms
        error_ms = took_ms - promise.spent_ms - expected_ms
        doubt_ms = math.hypot(self._spread_own * promise.alone_ms, wait.doubt_ms(behind_ms))
        above = error_ms > float(wait.margin(behind_ms)) * doubt_ms
        if above or not late or worked_ms is not None:  # else only the least is known, which says nothing of more
            wait.move_margin(behind_ms, above=above)
            self._typical.observe(max(1e-3, took_ms - promise.spent_ms) / max(1e-3, expected_ms))
            self._lay(error_ms, promise, worked_ms, late=late)

    def _lay(self, error_ms: float, promise: Promise, worked_ms: float | None, *, late: bool) -> None:
        """Lays the error on the request's own work, on its wait for others, or on the gateway: where it arose."""
        alone_ms, backlog_ms, wait = promise.alone_ms, promise.backlog_ms, self._wait(promise.budget_ms)
        own_ms: float | None = error_ms
        if backlog_ms < QUEUED_MS:
            if worked_ms is not None:
                wait.observe_own(alone_ms + error_ms + wait.own_ms - worked_ms)
                self._least_own_ms = min(each.own_ms for each in self._waits.values() if each.knows_own)
                own_ms = worked_ms - alone_ms
        else:
            behind_ms = wait.factor * backlog_ms
            if worked_ms is not None:
                own_ms = worked_ms - alone_ms
            elif late:  # it was dropped before anything was known of its own work
                own_ms = None
            else:  # who knows only the sum lays it on both alike
                own_ms = error_ms * alone_ms / (alone_ms + behind_ms)
            wait.observe(backlog_ms=backlog_ms, waited_ms=behind_ms + error_ms - (own_ms or 0.0))
        if own_ms is not None:
            self._spread.observe(min(abs(own_ms) / max(1e-3, alone_ms), WORST))

    def last_run_s(self, name: str) -> float:
        """When the model last ran, on the caller's clock; -inf if never."""
        return self._last_run_s.get(name, -math.inf)

    def coverage(self) -> float | None:
        """Share of the last 1,000 requests that took no longer than predicted; None before the first."""
        return self._held_count / len(self._held) if self._held else None


def octave(budget_ms: float) -> int:
    """Budgets of the same octave are alike: work is done by deadline, so those who wait about as long meet.

    0 for those below a millisecond as well, which nobody keeps: whoever asks for them shall not make rows without end.
    """
    return max(0, round(math.log2(budget_ms))) if 0 < budget_ms < math.inf else 0
