"""Sequences: credit against slow references, and nothing lost in padding."""

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.learning.sequences import DecisionLog, End, Sequences, buckets, gae, join, pieces_of, vtrace


def made(seed, n=40, longest=60):
    """Sequences of all lengths, uneven hours, half of them only cut."""
    generator = np.random.default_rng(seed)
    cut = generator.random(n) < 0.5
    length = generator.integers(1, longest, n) + cut
    offset = np.r_[0, np.cumsum(length)]
    rows = offset[-1]
    end = np.zeros(rows, np.int8)
    end[offset[1:] - 1] = np.where(cut, End.TRUNCATED, End.TERMINAL)
    return Sequences(
        offset=offset,
        weight=np.ones(n),
        time=np.concatenate([np.cumsum(generator.exponential(9.0, k)) for k in length]),
        observation=generator.standard_normal((rows, 3)).astype(np.float32),
        action=np.zeros((rows, 1), np.float32),
        logp=np.zeros(rows, np.float32),
        value=np.zeros((rows, 2), np.float32),
        payoff=generator.standard_normal((rows, 2)),
        version=np.ones(rows, np.int32),
        end=end,
    )


def steps_of(sequences, value, i, gamma):
    """(hours' discount, one-step error) of each decision of a sequence, read off the definitions."""
    begin, stop = sequences.offset[i], sequences.offset[i + 1]
    found = []
    for t in range(begin, stop):
        if sequences.end[t] == End.TRUNCATED:
            break
        if sequences.end[t] == End.TERMINAL:
            discount, ahead = 0.0, 0.0
        else:
            discount, ahead = gamma ** (sequences.time[t + 1] - sequences.time[t]), value[t + 1]
        found.append((discount, sequences.payoff[t] + discount * ahead - value[t]))
    return begin, found


@pytest.mark.golden
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gae_is_the_sum_it_is_defined_as_over_uneven_hours_ends_and_cuts(seed):
    sequences, gamma, lam = made(seed), 0.98, 0.9
    value = np.random.default_rng(seed + 100).standard_normal((len(sequences.end), 2))
    advantage, target = gae(sequences, value, gamma=gamma, lam=lam)
    for i in range(len(sequences)):
        begin, steps = steps_of(sequences, value, i, gamma)
        for t in range(len(steps)):
            total, factor = 0.0, 1.0
            for discount, delta in steps[t:]:
                total, factor = total + factor * delta, factor * discount * lam
            np.testing.assert_allclose(advantage[begin + t], total, atol=1e-10)
            np.testing.assert_allclose(target[begin + t], total + value[begin + t], atol=1e-10)
    assert (advantage[~sequences.decides] == 0.0).all()
    np.testing.assert_array_equal(target[~sequences.decides], value[~sequences.decides])


@pytest.mark.golden
@pytest.mark.parametrize("lam", [1.0, 0.8])
def test_vtrace_is_the_sum_of_the_paper_with_both_caps_at_one(lam):
    sequences, gamma = made(5), 0.97
    generator = np.random.default_rng(9)
    value = generator.standard_normal((len(sequences.end), 2))
    ratio = np.exp(generator.standard_normal(len(sequences.end)))
    advantage, target = vtrace(sequences, value, ratio, gamma=gamma, lam=lam)
    for i in range(len(sequences)):
        begin, steps = steps_of(sequences, value, i, gamma)
        for s in range(len(steps)):
            total, factor = np.zeros(2), 1.0
            for t in range(s, len(steps)):
                discount, delta = steps[t]
                cap = min(1.0, ratio[begin + t])
                total, factor = total + factor * cap * delta, factor * discount * lam * cap
            np.testing.assert_allclose(target[begin + s], value[begin + s] + total, atol=1e-10)
            if lam == 1.0:  # the paper's policy gradient: r + g v' - V
                discount, delta = steps[s]
                next_gain = target[begin + s + 1] - value[begin + s + 1] if discount else 0.0
                np.testing.assert_allclose(advantage[begin + s], delta + discount * next_gain, atol=1e-10)


def test_with_ratios_of_one_vtrace_is_gae():
    sequences = made(6)
    value = np.random.default_rng(0).standard_normal((len(sequences.end), 2))
    ones = np.ones(len(sequences.end))
    for ours, theirs in zip(
        vtrace(sequences, value, ones, gamma=0.9, lam=0.7), gae(sequences, value, gamma=0.9, lam=0.7),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)


def test_a_cut_is_worth_what_the_critic_sees_there_and_an_end_nothing():
    both = made(0, n=40)
    value = np.full((len(both.end), 2), 100.0)
    _, target = gae(both, value, gamma=1.0, lam=1.0)
    to_come = np.array(
        [both.payoff[a:b].sum(axis=0) for a, b in zip(both.offset, both.offset[1:], strict=False)]
    )
    cut = both.end[both.offset[1:] - 1] == End.TRUNCATED
    last = both.payoff[both.offset[1:] - 1]
    expected = np.where(cut[:, None], to_come - last + 100.0, to_come)
    np.testing.assert_allclose(target[both.offset[:-1]], expected)


@pytest.mark.parametrize(("longest", "size"), [(48, 256), (7, 5), (1, 1), (500, 1000)])
def test_every_row_stands_in_one_bucket_once_and_in_order(longest, size):
    sequences = made(3)
    pieces = pieces_of(sequences, longest)
    found = buckets(pieces, np.random.default_rng(0).permutation(len(pieces.start)), size)
    rows = np.concatenate([bucket.rows[bucket.real] for bucket in found])
    assert sorted(rows.tolist()) == list(range(len(sequences.end)))
    for bucket in found:
        assert len(bucket.piece) <= size
        assert bucket.real.mean() > 0.6  # little is padding
        for row, real in zip(bucket.rows, bucket.real, strict=True):
            assert (np.diff(row[real]) == 1).all() and not np.diff(real.astype(int)).max(initial=0) > 0
            assert len(set(sequences.owner[row[real]])) == 1
    continued = pieces.number[1:] > 0
    assert (pieces.length[:-1][continued] == longest).all()
    assert (pieces.length <= longest + 1).all()  # an observation at a cut stays with its decision


def test_taking_and_joining_keep_each_sequence_whole():
    sequences = made(1)
    chosen = np.array([5, 0, 5, 39])
    again = join([sequences.take(chosen[:2]), sequences.take(chosen[2:])])
    for i, j in enumerate(chosen):
        ours, theirs = slice(*again.offset[i : i + 2]), slice(*sequences.offset[j : j + 2])
        for name in ("time", "observation", "payoff", "end"):
            np.testing.assert_array_equal(getattr(again, name)[ours], getattr(sequences, name)[theirs])


def logged(*blocks):
    log = DecisionLog()
    for sequence, time, end in blocks:
        n = len(sequence)
        log.append(
            np.ones(n, bool),
            sequence=np.array(sequence),
            time=np.array(time),
            end=np.array(end),
            weight=np.arange(n) + 1.0,
            observation=np.zeros((n, 2)),
            action=np.zeros((n, 1)),
            logp=np.zeros(n),
            value=np.zeros((n, 2)),
            payoff=np.zeros((n, 2)),
            version=np.ones(n),
        )
    return log.sequences()


def test_a_log_tells_rows_that_came_hour_by_hour_sequence_by_sequence():
    found = logged(([7, 3], [0.0, 0.5], [0, 0]), ([3, 7], [1.0, 2.0], [1, 2]))
    assert found.offset.tolist() == [0, 2, 4]
    assert found.time.tolist() == [0.5, 1.0, 0.0, 2.0]
    assert found.weight.tolist() == [2.0, 1.0]
    assert found.end.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([([1, 2], [0.0, 0.0], [1, 0])], "must end with its last row"),
        ([([1], [0.0], [1]), ([1], [1.0], [1])], "must end with its last row"),
        ([([1], [3.0], [0]), ([1], [1.0], [1])], "must not fall"),
        ([([1], [np.nan], [1])], "must be finite"),
        ([], "at least one"),
    ],
)
def test_a_log_that_cannot_be_is_refused(blocks, said):
    with pytest.raises(BadInput, match=said):
        logged(*blocks)
