import math

import numba
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.core.random import bits, subkey
from gaelp.market.auction import clear, clear_one

NO_BID = -math.inf


def slow_clear(bids, quality, reserve, n_slots, pricing, tie_break):
    """One auction by sorting, in plain Python: the second implementation that `clear` is held against."""
    eligible = [b for b in range(len(bids)) if bids[b] >= reserve and quality[b] > 0]
    eligible.sort(key=lambda b: (-bids[b] * quality[b], -tie_break[b], b))
    winners, prices = [-1] * n_slots, [0.0] * n_slots
    for slot, b in enumerate(eligible[:n_slots]):
        winners[slot] = b
        price = reserve
        if pricing == "first":
            price = bids[b]
        elif slot + 1 < len(eligible):
            rival = eligible[slot + 1]
            price = max(price, bids[rival] * quality[rival] / quality[b])
        prices[slot] = min(price, bids[b])
    return winners, prices


# Coarse grids make ties of bids, rank scores and the reserve common; floats cover the rest.
bid_values = st.one_of(st.sampled_from([NO_BID, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0]), st.floats(0.0, 5.0))
qualities = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(0.0, 3.0))
reserves = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(0.0, 5.0))
uniforms = st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0.0, 1.0))


@st.composite
def auctions(draw):
    n_auctions, n_bidders = draw(st.integers(1, 3)), draw(st.integers(0, 8))

    def table(values):
        cells = st.lists(values, min_size=n_bidders, max_size=n_bidders)
        rows = draw(st.lists(cells, min_size=n_auctions, max_size=n_auctions))
        return np.array(rows, dtype=float).reshape(n_auctions, n_bidders)

    return {
        "bids": table(bid_values),
        "quality": table(qualities),
        "reserve": np.array(draw(st.lists(reserves, min_size=n_auctions, max_size=n_auctions))),
        "n_slots": draw(st.integers(1, 10)),
        "pricing": draw(st.sampled_from(["first", "second"])),
        "tie_break": draw(st.sampled_from([None, table(uniforms)])),
    }


def one_auction(bids, quality=None, reserve=0.0, **rest):
    """Clear a single auction given as lists; the winners and prices of its slots as lists."""
    quality = [1.0] * len(bids) if quality is None else quality
    if rest.get("tie_break") is not None:
        rest["tie_break"] = [rest["tie_break"]]
    winner, price = clear([bids], [quality], [reserve], **rest)
    return winner[0].tolist(), price[0].tolist()


@settings(deadline=None, max_examples=1000)
@given(auctions())
@example(
    {
        "bids": np.array(
            [[2.0, 1.0, 4.0, NO_BID]]
        ),  # three equal rank scores, the last tied with the reserve
        "quality": np.array([[1.0, 2.0, 0.5, 1.0]]),
        "reserve": np.array([1.0]),
        "n_slots": 2,
        "pricing": "second",
        "tie_break": np.array([[0.1, 0.9, 0.5, 1.0]]),
    }
)
def test_auctions_clear_as_a_slow_sorting_implementation_does(auction):
    winner, price = clear(**auction)
    ties = auction["tie_break"]
    for i, bids in enumerate(auction["bids"]):
        expected = slow_clear(
            bids.tolist(),
            auction["quality"][i].tolist(),
            float(auction["reserve"][i]),
            auction["n_slots"],
            auction["pricing"],
            [0.0] * len(bids) if ties is None else ties[i].tolist(),
        )
        assert (winner[i].tolist(), price[i].tolist()) == expected


@settings(deadline=None, max_examples=300)
@given(auctions())
def test_winner_never_pays_more_than_its_bid_nor_less_than_the_reserve(auction):
    winner, price = clear(**auction)
    rows, slots = np.nonzero(winner >= 0)
    assert (price[rows, slots] <= auction["bids"][rows, winner[rows, slots]]).all()
    assert (price[rows, slots] >= auction["reserve"][rows]).all()
    assert (price[winner < 0] == 0.0).all()


@settings(deadline=None, max_examples=300)
@given(auctions(), st.randoms(use_true_random=False))
def test_permuting_bidders_permutes_winners_where_nothing_is_tied(auction, shuffler):
    n_bidders = auction["bids"].shape[1]
    order = shuffler.sample(range(n_bidders), n_bidders)
    auction["bids"] = auction["bids"] + np.arange(n_bidders) * 1e-3  # few ties are left
    eligible = (auction["bids"] >= auction["reserve"][:, None]) & (auction["quality"] > 0.0)
    score = np.where(eligible, auction["bids"], 0.0) * auction["quality"]
    assume(all(len(np.unique(row[ok])) == ok.sum() for row, ok in zip(score, eligible, strict=True)))
    winner, price = clear(**auction)
    auction |= {"bids": auction["bids"][:, order], "quality": auction["quality"][:, order]}
    if auction["tie_break"] is not None:
        auction["tie_break"] = auction["tie_break"][:, order]
    permuted_winner, permuted_price = clear(**auction)
    back = np.array([*order, -1])  # -1 stays -1
    assert (back[permuted_winner] == winner).all()
    assert (permuted_price == price).all()


@settings(deadline=None, max_examples=300)
@given(auctions())
def test_the_top_slot_of_a_many_slot_auction_has_the_winner_of_the_one_slot_auction(auction):
    """The kernel has code of its own for one slot."""
    winner, price = clear(**(auction | {"n_slots": 2}))
    single_winner, single_price = clear(**(auction | {"n_slots": 1}))
    assert (winner[:, :1] == single_winner).all()
    assert (price[:, :1] == single_price).all()


def test_lone_bidder_pays_the_reserve():
    assert one_auction([4.0, NO_BID], reserve=2.0) == ([0], [2.0])
    assert one_auction([4.0], quality=[0.25], reserve=2.0) == ([0], [2.0])
    assert one_auction([4.0, 1.0], reserve=2.0) == ([0], [2.0])
    assert one_auction([4.0, NO_BID], reserve=2.0, pricing="first") == ([0], [4.0])


def test_a_bid_equal_to_the_reserve_wins_and_one_under_it_does_not():
    assert one_auction([2.0], reserve=2.0) == ([0], [2.0])
    assert one_auction([np.nextafter(2.0, 0.0)], reserve=2.0) == ([-1], [0.0])
    assert one_auction([0.0], reserve=0.0) == ([0], [0.0])


def test_a_bid_under_the_reserve_sets_no_price():
    assert one_auction([2.0, 1.9], quality=[1.0, 1.05], reserve=1.95) == ([0], [1.95])


def test_rounding_never_lifts_the_price_over_the_bid():
    assert 0.1 * 0.1 / 0.1 > 0.1  # what a tie with an equal bid would be charged
    assert one_auction([0.1, 0.1], quality=[0.1, 0.1]) == ([0], [0.1])


def test_zero_quality_neither_wins_nor_sets_a_price():
    assert one_auction([9.0, 4.0, 3.0], quality=[0.0, 1.0, 1.0]) == ([1], [3.0])
    assert one_auction([9.0], quality=[0.0]) == ([-1], [0.0])


def test_more_slots_than_bidders_leaves_slots_unsold():
    assert one_auction([1.0, 2.0], reserve=0.5, n_slots=4) == ([1, 0, -1, -1], [1.0, 0.5, 0.0, 0.0])


def test_ties_go_to_the_larger_tie_break_else_to_the_lowest_index():
    assert one_auction([2.0, 2.0, 2.0], n_slots=2) == ([0, 1], [2.0, 2.0])
    assert one_auction([2.0, 2.0, 2.0], n_slots=2, tie_break=[0.1, 0.3, 0.2]) == ([1, 2], [2.0, 2.0])
    assert one_auction([2.0, 2.0, 2.0], tie_break=[0.1, 0.3, 0.3]) == ([1], [2.0])
    assert one_auction([2.0, 4.0], quality=[1.0, 0.5], tie_break=[0.1, 0.3]) == ([1], [4.0])


@pytest.mark.golden
def test_google_example_of_edelman_ostrovsky_and_schwarz():
    """AER 97(1) 2007, section I: values 10, 4, 2 a click, two positions of 200 and 100 clicks an hour."""
    winner, price = clear([[10.0, 4.0, 2.0]], np.ones((1, 3)), [0.0], n_slots=2)
    assert winner.tolist() == [[0, 1]]
    assert (price * [200.0, 100.0]).tolist() == [[800.0, 200.0]]


@pytest.mark.golden
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("pricing", "shade", "reserve", "revenue"),
    [
        ("second", 1.0, 0.0, 1 / 3),  # truthful
        ("second", 1.0, 0.5, 5 / 12),  # at the optimal reserve
        ("first", 0.5, 0.0, 1 / 3),  # the equilibrium bid is half the value: revenue equivalence
    ],
)
def test_two_uniform_bidders_bring_the_textbook_revenue(pricing, shade, reserve, revenue):
    """Krishna, Auction Theory (2nd ed., 2010), sections 2.2 to 2.5."""
    n = 1_000_000
    values = np.random.default_rng(20100).random((n, 2))
    _, price = clear(shade * values, np.ones((n, 2)), np.full(n, reserve), pricing=pricing)
    se = price.std() / math.sqrt(n)
    assert 4 * se < 0.0013  # so a price that is wrong in one auction of a hundred shows
    assert abs(price.mean() - revenue) < 4 * se


def kernel_winner(bid, tie_key, n_slots=1):
    winner, price = np.empty(n_slots, np.int64), np.empty(n_slots)
    bid = np.array(bid)
    n_sold = clear_one(
        bid, np.ones(len(bid)), 0.5, n_slots, False, np.empty(0), np.uint64(tie_key), winner, price
    )
    assert n_sold == (winner >= 0).sum()
    return winner.tolist()


def test_the_kernel_settles_ties_by_its_key_when_no_uniforms_are_given():
    for auction in range(50):
        key = np.uint64(subkey(np.uint64(3), auction))
        coin = [bits(key, bidder) for bidder in range(5)]
        by_coin = sorted(range(5), key=lambda bidder: -int(coin[bidder]))
        assert kernel_winner([2.0] * 5, key) == by_coin[:1]
        assert kernel_winner([2.0] * 5, key, n_slots=3) == by_coin[:3]
        assert kernel_winner([1.0, 3.0, 2.0], key, n_slots=4) == [1, 2, 0, -1]
    assert kernel_winner([2.0] * 5, 0, n_slots=2) == [0, 1]


@pytest.mark.statistical
def test_tied_bidders_win_equally_often_over_many_keys():
    n, n_bidders = 30_000, 3
    wins = np.zeros(n_bidders)
    for auction in range(n):
        wins[kernel_winner([2.0] * n_bidders, subkey(np.uint64(9), auction))[0]] += 1
    se = math.sqrt(n * (1 / 3) * (2 / 3))
    assert (abs(wins - n / n_bidders) < 4 * se).all()


def test_the_kernel_touches_no_reference_counts():
    """They would cost more than the auction; what drops them is where each array is named last."""
    kernel = numba.njit(nogil=True, error_model="numpy")(clear_one.py_func)
    floats, ints = np.ones(2), np.zeros(2, np.int64)
    kernel(floats, floats, 0.0, 1, False, np.empty(0), np.uint64(1), ints, np.zeros(2))
    code = kernel.inspect_llvm(kernel.signatures[0]).split("\ndefine ")[1]
    assert "@_ZN" in code.splitlines()[0]  # the function itself, not its wrapper for Python
    assert "NRT_" not in code


def test_arrays_of_any_layout_and_number_type_are_accepted_and_left_alone():
    bids = np.asfortranarray([[4, 3], [1, 5]])
    given = bids.copy()
    quality = np.ones((2, 4))[:, ::2]
    winner, price = clear(bids, quality, np.array([0, 2], np.int32))
    assert (winner.tolist(), price.tolist()) == ([[0], [1]], [[3.0], [2.0]])
    assert (winner.dtype, price.dtype) == (np.int64, np.float64)
    assert (bids == given).all()


def test_no_auctions_and_no_bidders_are_fine():
    winner, price = clear(np.empty((0, 3)), np.empty((0, 3)), [], n_slots=2)
    assert winner.shape == price.shape == (0, 2)
    assert clear(np.empty((2, 0)), np.empty((2, 0)), [0.0, 1.0])[0].tolist() == [[-1], [-1]]


def cell(index, value, base):
    table = np.full((4, 2), base)
    table[index] = value
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"bids": cell((3, 1), np.nan, 1.0)},
            "`bids[3, 1]` was nan; bids must be finite (use -inf for 'did not bid'). "
            "Check the estimate that produced it.",
        ),
        ({"bids": cell((0, 1), np.inf, 1.0)}, "`bids[0, 1]` was inf; bids must be finite"),
        (
            {"quality": cell((2, 0), np.nan, 1.0)},
            "`quality[2, 0]` was nan; qualities must be finite and at least",
        ),
        (
            {"quality": cell((2, 0), -0.5, 1.0)},
            "`quality[2, 0]` was -0.5; qualities must be finite and at least",
        ),
        (
            {"quality": cell((2, 0), np.inf, 1.0)},
            "`quality[2, 0]` was inf; qualities must be finite and at least",
        ),
        ({"reserve": [0.0, -1.0, 0.0, 0.0]}, "`reserve[1]` was -1.0; reserves must be finite and at least 0"),
        (
            {"reserve": [0.0, np.nan, 0.0, 0.0]},
            "`reserve[1]` was nan; reserves must be finite and at least 0",
        ),
        (
            {"reserve": [0.0, 0.0, 0.0, np.inf]},
            "`reserve[3]` was inf; reserves must be finite and at least 0",
        ),
        ({"tie_break": cell((1, 1), np.nan, 0.5)}, "`tie_break[1, 1]` was nan; tie breaks must be finite"),
        ({"bids": [1.0, 2.0]}, "`bids.shape` was (2,); must be (n_auctions, n_bidders)"),
        ({"quality": np.ones((4, 3))}, "`quality.shape` was (4, 3); must be (4, 2), one per bid"),
        ({"reserve": [0.0]}, "`reserve.shape` was (1,); must be (4,), one per auction"),
        ({"reserve": 0.0}, "`reserve.shape` was (); must be (4,), one per auction"),
        ({"tie_break": np.ones((4, 1))}, "`tie_break.shape` was (4, 1); must be (4, 2), one per bid"),
        ({"bids": [[1.0, 2.0], [1.0]]}, "`bids` was [[1.0, 2.0], [1.0]]; must be a table of numbers"),
        ({"bids": [["1", None]] * 4}, "`bids` was [['1', None], "),
        ({"n_slots": 0}, "`n_slots` was 0; must be a whole number of at least 1. "),
        ({"n_slots": 1.0}, "`n_slots` was 1.0; must be a whole number of at least 1. "),
        ({"n_slots": True}, "`n_slots` was True; must be a whole number of at least 1. "),
        ({"pricing": "secnd"}, "`pricing` was 'secnd'; known: first, second. Did you mean 'second'?"),
        ({"pricing": None}, "`pricing` was 'None'; known: first, second. "),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_it(change, message):
    good = {"bids": np.ones((4, 2)), "quality": np.ones((4, 2)), "reserve": np.zeros(4)}
    with pytest.raises(BadInput) as caught:
        clear(**(good | change))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
