"""The formulas against simulation, the plan against its questions, the command as its user meets it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.arrivals import arrivals
from benchmarks.fleets import Fleet, Spread, workload
from benchmarks.policies import fixed
from benchmarks.virtual_gateway import VirtualGateway
from service.cli.commands import app
from service.image_header import ImageHeader
from service.latency import Predictor
from service.planning import FleetPlan, NoPlan, Profiled, Share, TierLoad, choices, fewest_replicas, make_plan
from service.profile_file import InvalidProfiles, measured_in, read_profiles, write_profiles
from service.queueing import Batching, erlang_c, poisson, within_on_batches, within_on_cores
from tests.cards import classifier
from tests.small_entry import write_small_entry

# --- the formulas


def test_erlang_c_is_as_in_the_tables() -> None:
    assert erlang_c(1, 0.5) == pytest.approx(0.5)  # M/M/1: an arrival waits if the one server is busy
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=5e-4)


def test_poisson_adds_up_and_has_its_mean() -> None:
    for mean in (0.0, 0.3, 40.0):
        probabilities = poisson(mean, 200)
        assert probabilities.sum() == pytest.approx(1.0)
        assert (probabilities * np.arange(200)).sum() == pytest.approx(mean)


def simulated_on_batches(rate_per_s: float, server: Batching, limit_s: float, count: int = 40_000) -> float:
    """Share in time of that many arrivals, one by one."""
    times_s = np.cumsum(np.random.default_rng(5).exponential(1 / rate_per_s, count))
    first, now_s, in_time = 0, 0.0, 0
    while first < count:
        now_s = max(now_s, float(times_s[first]))
        last = min(int(np.searchsorted(times_s, now_s, side="right")), first + server.most)
        now_s += float(server.run_s(last - first))
        in_time += int((now_s - times_s[first:last] <= limit_s).sum())
        first = last
    return in_time / count


@pytest.mark.parametrize("utilised", [0.05, 0.3, 0.6, 0.8, 0.9])
@pytest.mark.parametrize("server", [Batching(0.002, 0.0005, 16), Batching(0.0001, 0.004, 4), Batching(0.005, 0.0, 8)])
def test_a_batching_server_is_as_the_simulation_has_it(utilised: float, server: Batching) -> None:
    rate_per_s = utilised * server.capacity_per_s
    for runs in (1.5, 2.5, 4.0):
        limit_s = runs * float(server.run_s(server.most)) * 0.8 + float(server.run_s(1)) * 0.2
        said = within_on_batches(rate_per_s, server, limit_s)
        truth = simulated_on_batches(rate_per_s, server, limit_s)
        assert said == pytest.approx(truth, abs=0.04)
        if truth > 0.98:  # where plans are made
            assert said == pytest.approx(truth, abs=0.01)


def simulated_on_cores(rate_per_s: float, cores: int, service_s: float, limit_s: float, count: int = 40_000) -> float:
    times_s = np.cumsum(np.random.default_rng(6).exponential(1 / rate_per_s, count))
    free_s, in_time = [0.0] * cores, 0
    for came_s in times_s:
        soonest = min(range(cores), key=free_s.__getitem__)
        free_s[soonest] = max(free_s[soonest], came_s) + service_s
        in_time += free_s[soonest] - came_s <= limit_s
    return in_time / count


@pytest.mark.parametrize("cores", [1, 4, 16])
@pytest.mark.parametrize("utilised", [0.3, 0.7, 0.9])
def test_cores_are_as_the_simulation_has_them(cores: int, utilised: float) -> None:
    service_s = 0.01
    rate_per_s = utilised * cores / service_s
    for limit_s in (0.015, 0.03, 0.06):
        said = within_on_cores(rate_per_s, cores, service_s, limit_s)
        truth = simulated_on_cores(rate_per_s, cores, service_s, limit_s)
        assert said == pytest.approx(truth, abs=0.06)
        if truth > 0.98:  # where plans are made
            assert said == pytest.approx(truth, abs=0.012)


def test_who_cannot_keep_up_or_is_too_slow_alone_answers_nobody() -> None:
    server = Batching(0.002, 0.0005, 16)
    assert within_on_batches(server.capacity_per_s, server, 1.0) == 0.0
    assert within_on_batches(1.0, server, 0.0024) == 0.0
    assert within_on_cores(200.0, 2, 0.01, 1.0) == 0.0
    assert within_on_cores(1.0, 2, 0.01, 0.009) == 0.0


@pytest.mark.parametrize("rate_per_s", [100.0, 400.0])
def test_a_plan_for_cores_holds_in_the_simulated_gateway(rate_per_s: float) -> None:
    """benchmarks/ has the gateway's own predictor, queue and admission; decoding takes there what it is planned for."""
    header = ImageHeader("jpeg", 640, 480)
    card = classifier("planned", accuracy=75.0, run_ms=8.0)
    decode_ms = Predictor().decode_ms(header, card.resize)
    model = Profiled("planned", 75.0, 4.0, 4.0, 8, decode_ms, cores=1)
    load = TierLoad("interactive", 50.0, rate_per_s)
    cores = next(n for n in range(1, 99) if replace(model, cores=n).attainment(rate_per_s, 1, 50.0) >= 0.99)
    fleet = Fleet(cores, (card,), (Spread(8.0, 0.02),), Spread(1.0, 0.02), (header,))
    offered = workload(fleet, arrivals("poisson", rate_per_s, 60.0, seed=1), load.budget_ms, seed=1)
    outcomes = VirtualGateway(offered, fixed(fleet, 0)).run()
    in_time = sum(outcome.in_time for outcome in outcomes) / len(outcomes)
    assert in_time >= 0.97
    fewer = replace(fleet, workers=max(1, math.floor(0.7 * cores)))
    short = workload(fewer, arrivals("poisson", rate_per_s, 60.0, seed=1), load.budget_ms, seed=1)
    worse = VirtualGateway(short, fixed(fewer, 0)).run()
    assert sum(outcome.in_time for outcome in worse) / len(worse) < 0.95  # and it is not far too many


# --- the plan

SMALL = Profiled("small", 70.0, 1.0, 0.1, 32)
LARGE = Profiled("large", 80.0, 5.0, 1.0, 32)
HUGE = Profiled("huge", 90.0, 60.0, 5.0, 32)


def test_each_tier_gets_the_most_accurate_model_that_makes_it() -> None:
    made = make_plan(
        [SMALL, LARGE, HUGE], [TierLoad("interactive", 50, 1000), TierLoad("relaxed", 500, 100)], target=0.99
    )
    assert [share.model.name for share in made.shares] == ["large", "huge"]
    assert all(share.attainment >= 0.99 for share in made.shares)
    for share in made.shares:
        fewer = max(1, share.replicas - 1)
        assert share.replicas == 1 or share.model.attainment(share.load.rate_per_s, fewer, share.load.budget_ms) < 0.99
    expected = sum(s.attainment * s.model.accuracy * s.load.rate_per_s for s in made.shares) / 1100
    assert made.effective_accuracy == pytest.approx(expected)


def test_fewer_replicas_mean_smaller_models_until_nothing_does_it() -> None:
    load = [TierLoad("interactive", 50, 5000)]
    free = make_plan([SMALL, LARGE], load, 0.99)
    assert free.shares[0].model.name == "large"
    tight = make_plan([SMALL, LARGE], load, 0.99, most_replicas=free.replicas - 1)
    assert tight.shares[0].model.name == "small"
    assert tight.replicas < free.replicas
    with pytest.raises(NoPlan, match=r"1 replicas are too few: \d+ are the least that answer 99.0% in time"):
        make_plan([SMALL, LARGE], [TierLoad("interactive", 50, 50_000)], 0.99, most_replicas=1)


def test_within_the_routers_band_the_cheaper_one_is_taken() -> None:
    nearly = replace(SMALL, name="nearly", accuracy=79.9)
    made = make_plan([LARGE, nearly], [TierLoad("interactive", 50, 5000)], 0.99)
    assert made.shares[0].model.name == "nearly"


def test_a_tier_that_no_model_makes_is_named() -> None:
    with pytest.raises(NoPlan, match=r"no model answers 99.0% of realtime in time: large, the fastest, takes 6.0 ms"):
        make_plan([LARGE, HUGE], [TierLoad("realtime", 6, 10)], 0.99)


def test_more_replicas_never_answer_less_and_the_search_finds_the_first_that_do() -> None:
    load = TierLoad("interactive", 50, 3000)
    reached = [LARGE.attainment(load.rate_per_s, n, load.budget_ms) for n in range(1, 12)]
    assert (np.diff(reached) > -1e-6).all()
    first = next(n for n, share in enumerate(reached, start=1) if share >= 0.99)
    assert fewest_replicas(LARGE, load, 0.99) == first


def test_choices_that_another_beats_in_everything_are_left_out() -> None:
    worse = replace(LARGE, name="worse", accuracy=75.0, beta_ms=2.0)
    assert [share.model.name for share in choices([worse, LARGE, SMALL], TierLoad("t", 50, 5000), 0.99)] == [
        "large",
        "small",
    ]


def test_decoding_is_the_gateways_where_gpus_run_the_models() -> None:
    load = TierLoad("t", 50, 1000)
    on_gpu = FleetPlan((Share(load, replace(LARGE, decode_ms=3.0), 1, 1.0),))
    on_cores = FleetPlan((Share(load, replace(LARGE, decode_ms=3.0, cores=4), 1, 1.0),))
    assert (on_gpu.decoding_cores, on_cores.decoding_cores) == (3.0, 0.0)


# --- profiles as a file, and the command


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    write_small_entry(folder)
    write_small_entry(folder, "another", accuracy=None)
    (folder / "broken").mkdir()
    return folder


def test_profiles_survive_their_file_and_only_what_was_measured_is_in_it(repository: Path, tmp_path: Path) -> None:
    found = measured_in(repository)
    assert [one.model for one in found] == ["lenet5"]
    write_profiles(found, tmp_path / "here.json")
    (read,) = read_profiles(tmp_path / "here.json")
    assert read == replace(found[0], resize=replace(found[0].resize, interpolation="bilinear"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not a file of profiles"),
        ("[]", "is not a file of profiles"),
        ('{"format": 2, "profiles": []}', "has format 2"),
        ('{"format": 1}', "'profiles' is missing"),
        ('{"format": 1, "profiles": [{"model": "a"}]}', "is missing"),
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "profiles.json"
    path.write_text(text)
    with pytest.raises(InvalidProfiles, match=why):
        read_profiles(path)
    with pytest.raises(InvalidProfiles, match="cannot be read"):
        read_profiles(tmp_path / "nothing.json")


def vision(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return done.exit_code, done.output


def write_gpu_profiles(path: Path) -> None:
    """A made-up device, so that nobody takes its numbers for a GPU's."""
    common = {
        "task": "classify",
        "labels": "imagenet-1k",
        "metric": "top-1",
        "dataset": "imagenet-1k",
        "device": "Imaginary GPU, tensorrt 11.4.0",
        "p50_ms": {"1": 1.0},
        "max_batch_size": 32,
        "resize": {"mode": "squash", "size_hw": [224, 224], "shorter_side_px": None},
    }
    models = [("small", 70.0, 1.0, 0.1), ("large", 80.0, 5.0, 1.0)]
    profiles = [
        {**common, "model": n, "accuracy": a, "alpha_ms": alpha, "beta_ms": beta} for n, a, alpha, beta in models
    ]
    path.write_text(json.dumps({"format": 1, "profiles": profiles}))


def test_the_question_of_the_readme_gets_its_answer(tmp_path: Path) -> None:
    write_gpu_profiles(tmp_path / "gpu.json")
    asked = ("--rps", "20000", "--tier", "interactive=0.8,standard=0.2", "--device", "imaginary")
    code, said = vision(*asked, "--profiles", tmp_path / "gpu.json")
    assert code == 0, said
    assert "A replica is one such GPU" in said
    assert "Measured on Imaginary GPU, tensorrt 11.4.0" in said
    code, text = vision(*asked, "--profiles", tmp_path / "gpu.json", "--json")
    answer = json.loads(text)
    assert [(t["tier"], t["rate_per_s"], t["budget_ms"]) for t in answer["tiers"]] == [
        ("interactive", 16000.0, 50.0),
        ("standard", 4000.0, 150.0),
    ]
    assert answer["replicas"] == sum(t["replicas"] for t in answer["tiers"])
    assert answer["attainment"] >= 0.99
    assert 79.0 < answer["effective_accuracy"] <= 80.0
    fewer = str(answer["replicas"] - 1)
    code, text = vision(*asked, "--profiles", tmp_path / "gpu.json", "--json", "--max-replicas", fewer)
    tight = json.loads(text)
    assert tight["replicas"] < answer["replicas"]
    assert "small" in {share["model"] for share in tight["tiers"]}
    assert tight["effective_accuracy"] < answer["effective_accuracy"]


def test_a_device_that_nobody_measured_is_not_guessed(tmp_path: Path) -> None:
    write_gpu_profiles(tmp_path / "gpu.json")
    code, said = vision("--rps", "20000", "--device", "h100", "--profiles", tmp_path / "gpu.json")
    assert code == 1
    assert "no measured profiles for 'h100'; there are for: Imaginary GPU" in said
    assert "vision plan --write-profiles h100.json" in said


def test_the_repositorys_own_profiles_are_for_its_cores(repository: Path, tmp_path: Path) -> None:
    measured = measured_in(repository)[0].profile
    config = repository / "lenet5" / "config.pbtxt"
    config.write_text(config.read_text().replace('"nowhere"', '"a CPU, onnxruntime 1, 1 thread"'))
    code, said = vision("--rps", "1000", "--repository", repository, "--cores", "4")
    assert code == 0, said
    assert "A replica is 4 such cores" in said
    assert measured.alpha_ms == 0.1
    code, said = vision("--repository", repository, "--write-profiles", tmp_path / "here.json")
    assert (code, "1 profiles" in said) == (0, True)
    assert len(read_profiles(tmp_path / "here.json")) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "--rps"),
        (("--rps", "10", "--tier", "interactive=0.8"), "add up to 0.8"),
        (("--rps", "10", "--tier", "fast=1"), "'fast' is none of"),
        (("--rps", "10", "--tier", "standard=much"), "NAME=SHARE"),
        (("--rps", "10", "--tier", "standard=0.5,standard=0.5"), "there twice"),
        (("--rps", "10", "--target", "1"), "between 0 and 1"),
        (("--rps", "10", "--picture", "big"), "not WxH"),
        (("--rps", "10", "--profiles", "nothing.json"), "cannot be read"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(arguments: tuple[str, ...], why: str) -> None:
    code, said = vision(*arguments)
    assert code == 2
    assert why in " ".join(said.replace("│", " ").split())
