"""The auction: who is shown in which slot, and what each winner pays.

`clear` is the public face, for arrays of auctions. `clear_one` is the kernel under it and clears one
auction from inside another kernel; the market's hour calls it, so the market runs the code tested here.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.core.jit import jit
from gaelp.core.names import require_known
from gaelp.core.random import bits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRICINGS = ("first", "second")

# Rank scores of eligible bidders are >= 0, so one comparison with the best so far also tells that there is
# none yet (_NOBODY), and a bidder that is not eligible never gets past it.
_NOBODY = -0.5
_NOT_ELIGIBLE = -1.0
_NO_KEY = np.uint64(0)


def clear(
    bids: ArrayLike,
    quality: ArrayLike,
    reserve: ArrayLike,
    n_slots: int = 1,
    pricing: Literal["first", "second"] = "second",
    tie_break: ArrayLike | None = None,
) -> tuple[Ints, Floats]:
    """Clear sealed-bid auctions, each for one or several ranked slots.

    A bidder is eligible if its bid is at least the reserve and its quality above zero. Eligible bidders are
    ranked by rank score = bid x quality and take the slots in that order. Under "second" (with several slots:
    generalised second price) a winner pays the least bid that would have kept its slot, the next eligible
    bidder's rank score over its own quality, and at least the reserve: a lone bidder pays the reserve. Under
    "first" it pays its bid. It never pays more than its bid. Slots beyond the eligible bidders stay unsold.

    Args:
        bids: (n_auctions, n_bidders) bids, in any one unit of money, such as USD per click; -inf means "did
            not bid".
        quality: (n_auctions, n_bidders) rank weight, >= 0; ones rank by bid alone.
        reserve: (n_auctions,) least bid accepted, in the bids' unit, >= 0.
        n_slots: slots sold in each auction, best first.
        pricing: the rule that sets the price.
        tie_break: (n_auctions, n_bidders) uniforms; of equal rank scores the one with the larger uniform
            ranks first. Without them, or where they are equal too, the lowest index does.

    Returns:
        winner: (n_auctions, n_slots) bidder index, -1 where unsold.
        price: (n_auctions, n_slots) price in the bids' unit, 0.0 where unsold.

    Raises:
        BadInput: if a bid is NaN or +inf, a quality or reserve is negative or not finite, a tie break is not
            finite, shapes disagree, `n_slots` is below one, or the pricing is unknown.

    Source: Krishna, Auction Theory (2nd ed., 2010), sections 2.2 to 2.5 (one slot, reserve); Edelman,
    Ostrovsky, Schwarz, "Internet advertising and the generalized second-price auction", AER 97(1), 2007
    (several slots); Varian, "Position auctions", IJIO 25(6), 2007 (ranking by bid x quality).

    One slot: the second price, the reserve for a lone bidder, unsold under the reserve.

    >>> winner, price = clear(
    ...     bids=[[4.0, 3.0], [4.0, -np.inf], [1.0, 0.5]],
    ...     quality=np.ones((3, 2)),
    ...     reserve=[2.0, 2.0, 2.0],
    ... )
    >>> winner.tolist(), price.tolist()
    ([[0], [0], [-1]], [[3.0], [2.0], [0.0]])

    Two slots and quality: rank scores are 4, 6 and 3, so bidder 1 pays 4 / 2 and bidder 0 pays 3 / 1.

    >>> winner, price = clear([[4.0, 3.0, 3.0]], [[1.0, 2.0, 1.0]], reserve=[0.5], n_slots=2)
    >>> winner.tolist(), price.tolist()
    ([[1, 0]], [[2.0, 3.0]])
    """
    bid = _bids(bids)
    n_slots = _n_slots(n_slots)
    first_price = require_known("pricing", str(pricing), PRICINGS) == "first"
    weight = _floats("quality", quality, bid.shape)
    _refuse("quality", weight, (weight >= 0.0) & (weight < np.inf), "qualities must be finite and at least 0")
    floor = _floats("reserve", reserve, bid.shape[:1])
    _refuse("reserve", floor, (floor >= 0.0) & (floor < np.inf), "reserves must be finite and at least 0")
    if tie_break is None:
        tie = np.empty((bid.shape[0], 0))
    else:
        tie = _floats("tie_break", tie_break, bid.shape)
        _refuse("tie_break", tie, np.isfinite(tie), "tie breaks must be finite")
    winner = np.empty((bid.shape[0], n_slots), np.int64)
    price = np.empty((bid.shape[0], n_slots))
    _clear_each(bid, weight, floor, n_slots, first_price, tie, winner, price)
    return winner, price


@jit(borrows=True)
def clear_one(
    bid: Floats,
    quality: Floats,
    reserve: float,
    n_slots: int,
    first_price: bool,
    tie: Floats,
    tie_key: np.uint64,
    winner: Ints,
    price: Floats,
) -> int:
    """Clear one auction inside a kernel; the rules are those of `clear`.

    Allocates nothing and checks nothing: no NaN, no +inf, quality and reserve at least zero. Pass whole
    one-dimensional arrays that live as long as the caller's loop: slicing a row out of a larger array at
    each call costs more than clearing a small auction.

    Ties: with `tie` given, the larger uniform ranks first. With `tie` empty, `tie_key` settles them by
    `core.random.bits(tie_key, bidder)`, a coin for each bidder that is computed only if two rank scores are
    equal, so the caller draws nothing per auction. With `tie` empty and `tie_key` zero, and where the above
    is equal too, the lowest index ranks first.

    Args:
        bid: (n_bidders,) bids; -inf means "did not bid".
        quality: (n_bidders,) rank weights, >= 0.
        reserve: least bid accepted, >= 0.
        n_slots: slots for sale, >= 1.
        first_price: winners pay their bid; else the (generalised) second price.
        tie: (n_bidders,) uniforms, or (0,) to settle ties by `tie_key`.
        tie_key: key of this auction's ties, its own purpose; 0 for "lowest index".
        winner: (>= n_slots,) receives bidder indices, -1 where unsold.
        price: (>= n_slots,) receives prices in the bids' unit, 0.0 where unsold.

    Returns:
        How many slots were sold.
    """
    n_sold = 0
    if n_slots == 1:  # most auctions, so worth code of its own: a loop without branches
        best = _NOBODY
        second = _NOBODY
        top = -1
        for b in range(bid.size):
            score = _rank_score(bid[b], quality[b], reserve)
            lower = best if best < score else score
            second = lower if lower > second else second
            top = b if score > best else top
            best = score if score > best else best
        if second == best and top >= 0:
            for b in range(top + 1, bid.size):
                if _rank_score(bid[b], quality[b], reserve) == best and _wins_tie(b, top, tie, tie_key):
                    top = b
        paid = 0.0
        if top >= 0:
            n_sold = 1
            paid = _price(bid[top], quality[top], reserve, second, first_price)
        winner[0] = top
        price[0] = paid
    else:  # insertion into the list of winners; `price` holds their rank scores until the prices are known
        last = n_slots - 1
        runner_up = _NOBODY  # the best rank score without a slot
        for b in range(bid.size):
            score = _rank_score(bid[b], quality[b], reserve)
            if score >= runner_up:  # else not eligible, or of no effect on any slot
                slot = n_sold
                while slot > 0 and (
                    score > price[slot - 1]
                    or (score == price[slot - 1] and _wins_tie(b, winner[slot - 1], tie, tie_key))
                ):
                    slot -= 1
                    if slot < last:
                        price[slot + 1] = price[slot]
                        winner[slot + 1] = winner[slot]
                    else:
                        runner_up = price[slot]
                if slot < n_slots:
                    price[slot] = score
                    winner[slot] = b
                else:
                    runner_up = score
                n_sold += n_sold < n_slots
        for slot in range(n_slots):
            if slot < n_sold:
                b = winner[slot]
                following = price[slot + 1] if slot + 1 < n_sold else runner_up
                price[slot] = _price(bid[b], quality[b], reserve, following, first_price)
            else:
                winner[slot] = -1
                price[slot] = 0.0
    # Naming every array in the last block ends all their lives there, which is what lets Numba drop its
    # reference counts: atomic operations of 50 ns a call, more than the auction itself. For the same reason
    # the two cases are not helpers of their own. A test watches it.
    _ = bid.size + quality.size + tie.size + winner.size + price.size
    return n_sold


@jit(inline=True)
def _rank_score(bid: float, quality: float, reserve: float) -> float:
    # With a reserve of zero or more, "did not bid" (-inf) is under the reserve too.
    return bid * quality if (bid >= reserve) & (quality > 0.0) else _NOT_ELIGIBLE


@jit(borrows=True)
def _wins_tie(b: int, other: int, tie: Floats, tie_key: np.uint64) -> bool:
    """Whether `b` ranks before `other`; bidders come in index order, so `other` is the lower index."""
    wins = False
    if tie.size > 0:
        wins = tie[b] > tie[other]
    elif tie_key != _NO_KEY:
        wins = bool(bits(tie_key, b) > bits(tie_key, other))
    return wins


@jit(inline=True)
def _price(bid: float, quality: float, reserve: float, following: float, first_price: bool) -> float:
    paid = bid
    if not first_price:
        needed = following / quality  # negative where nobody follows
        needed = needed if needed > reserve else reserve
        paid = needed if needed < bid else bid  # rounding can put the quotient of a near tie above the bid
    return paid


@jit
def _clear_each(
    bids: Floats,
    quality: Floats,
    reserve: Floats,
    n_slots: int,
    first_price: bool,
    tie: Floats,
    winner: Ints,
    price: Floats,
) -> None:
    n_bidders = bids.shape[1]
    n_ties = tie.shape[1]
    one_bid = np.empty(n_bidders)
    one_quality = np.empty(n_bidders)
    one_tie = np.empty(n_ties)
    one_winner = np.empty(n_slots, np.int64)
    one_price = np.empty(n_slots)
    for i in range(bids.shape[0]):
        for b in range(n_bidders):
            one_bid[b] = bids[i, b]
            one_quality[b] = quality[i, b]
        for b in range(n_ties):
            one_tie[b] = tie[i, b]
        clear_one(
            one_bid, one_quality, reserve[i], n_slots, first_price, one_tie, _NO_KEY, one_winner, one_price
        )
        for slot in range(n_slots):
            winner[i, slot] = one_winner[slot]
            price[i, slot] = one_price[slot]


def _bids(given: ArrayLike) -> Floats:
    bid = _floats("bids", given)
    if bid.ndim != 2:
        raise BadInput(
            "bids.shape",
            bid.shape,
            "must be (n_auctions, n_bidders)",
            "Write one auction as a table of one row.",
        )
    _refuse("bids", bid, bid < np.inf, "bids must be finite (use -inf for 'did not bid')")
    return bid


def _n_slots(given: int) -> int:
    if isinstance(given, bool | np.bool_) or not isinstance(given, int | np.integer) or given < 1:
        raise BadInput("n_slots", given, "must be a whole number of at least 1", "Use 1 for a single slot.")
    return int(given)


def _floats(name: str, given: ArrayLike, shape: tuple[int, ...] | None = None) -> Floats:
    try:
        array = np.asarray(given)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise BadInput(name, given, "must be a table of numbers", "Give rows of equal length, numbers only.")
    if shape is not None and array.shape != shape:
        what = "one per auction" if len(shape) == 1 else "one per bid"
        raise BadInput(
            f"{name}.shape", array.shape, f"must be {shape}, {what}", "Compare it with `bids.shape`."
        )
    return np.ascontiguousarray(array, np.float64)


def _refuse(name: str, values: Floats, is_good: NDArray[np.bool_], allowed: str) -> None:
    if is_good.all():
        return
    index = tuple(int(i) for i in np.argwhere(~is_good)[0])
    where = ", ".join(map(str, index))
    raise BadInput(f"{name}[{where}]", values[index], allowed, "Check the estimate that produced it.")
