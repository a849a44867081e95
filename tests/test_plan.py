"""The model of what more ranks cost: by hand, at its limits, and on the command line."""

import dataclasses

import numpy as np
import pytest
from helpers import refused, run_command

from fastbp.distributed import cost_model, measure

WORK = cost_model.Work((784, 800, 10), 4, 50_000, 576)  # 12 chunks of 16 groups of 3 samples
RATES = cost_model.Rates(1e-11, 1e-10, 5e-11, 1e-9, 1e-5, 1e9)


def test_a_step_of_two_ranks_by_hand():
    parameters, flops = 785 * 800 + 801 * 10, 6 * 800 * 794 - 2 * 784 * 800
    assert (WORK.parameters, WORK.flops) == (parameters, flops)
    compute = 288 * flops * 1e-11 + parameters * (1e-10 + 5 * 5e-11) + parameters / 2 * 1e-9
    np.testing.assert_allclose(cost_model.compute_seconds(WORK, RATES, 2), compute)
    messages = 2 * (1e-5 + parameters / 2 * 4 / 1e9)  # a slice of the sum, a slice of weights
    np.testing.assert_allclose(cost_model.exchange_seconds(WORK, RATES, 2), messages)
    np.testing.assert_allclose(cost_model.epoch_seconds(WORK, RATES, 2), 87 * (compute + messages))


def test_a_rank_has_whole_groups_of_samples():
    assert cost_model.most_samples(8, 12, 2) == 5  # groups of 3, 3 and 2: the second rank has two
    assert cost_model.most_samples(1, 12, 2) == 1
    assert cost_model.most_samples(576, 12, 3) == 192


def test_one_rank_exchanges_nothing_and_a_free_network_leaves_the_work():
    assert cost_model.exchange_seconds(WORK, RATES, 1) == 0
    free = cost_model.Rates(1e-11, 0.0, 0.0, 0.0, 0.0, float("inf"))
    for row in cost_model.table(WORK, free, [1, 2, 3, 4, 6, 12, 64]):
        assert row["speedup"] == pytest.approx(row["ranks"])
        assert row["exchange"] == 0


def test_more_ranks_pay_from_these_sizes_on():
    """At the size that is named they do, at half of it they do not."""
    for row in cost_model.table(WORK, RATES, [1, 2, 4, 8]):
        ranks, fewer = row["ranks"], row["ranks"] // 2
        if ranks == 1:
            assert row["mini_batch"] is row["width"] is None
            continue

        def pays(work, ranks=ranks, fewer=fewer):
            return cost_model.epoch_seconds(work, RATES, ranks) < cost_model.epoch_seconds(
                work, RATES, fewer
            )

        m, width = row["mini_batch"], row["width"]
        assert pays(dataclasses.replace(WORK, mini_batch_size=m))
        assert m == 1 or not pays(dataclasses.replace(WORK, mini_batch_size=m // 2))
        assert pays(WORK.with_width(width))
        assert width == 1 or not pays(WORK.with_width(width // 2))
    slow = dataclasses.replace(RATES, latency=10.0)
    assert cost_model.smallest_mini_batch(WORK, slow, 2, 1) is None
    assert cost_model.smallest_width(dataclasses.replace(WORK, sizes=(3, 2)), RATES, 2, 1) is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rates_are_measured(dtype, monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.002)
    per_flop, *passes, per_step = measure.compute_rates((40, 30, 10), np.dtype(dtype))
    assert 1e-13 < per_flop < 1e-6
    assert all(0 <= seconds < 1e-4 for seconds in passes)
    assert 1e-12 < per_step < 1e-4


def test_the_command_prints_a_table_and_draws_it(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.002)
    picture = tmp_path / "plan.png"
    done = run_command(
        "plan", "--ranks", "1,2,4,1024", "--sizes", "40,30,10", "--mini-batch-size", 60,
        "--samples", 600, "--latency", 1e9, "--plot", picture,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, titles, *lines = done.stdout.splitlines()
    assert "messages 1000000000.0 us" in head
    assert "given" in head
    assert titles.split()[0] == "ranks"
    *lines, explanation = lines
    assert explanation.startswith("pays from: the least mini-batch")
    assert [line.split()[0] for line in lines] == ["1", "2", "4", "1024"]
    assert all(line.split()[-2:] == ["never", "never"] for line in lines[1:])
    assert picture.read_bytes()[1:4] == b"PNG"


def test_a_mini_batch_is_no_larger_than_the_training_set(monkeypatch):
    """As SGD takes it: else the seconds are those of samples that do not exist."""
    monkeypatch.setattr(measure, "SECONDS", 0.002)
    options = "--ranks", "1,2", "--sizes", "40,30,10", "--samples", 600
    done = run_command("plan", *options, "--mini-batch-size", 10**6)
    assert "mini-batch 600:" in done.stdout


def test_bad_options_are_one_line(tmp_path):
    for options, text in (
        (["--ranks", "0"], "ranks is 0"),
        (["--ranks", "10000000", "--sizes", "10,10"], "and less than 65537"),
        (["--sizes", "784"], "sizes has 1 layer"),
        (["--bandwidth", "0"], "bandwidth is 0"),
        (["--mini-batch-size", "0"], "mini_batch_size is 0"),
        (["--plot", tmp_path / "none" / "plan.png"], "none"),
    ):
        assert text in refused("plan", *options)
