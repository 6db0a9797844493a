"""How rivals learn: at midnight, each from its own report of the day, by its own strategy.

A rival bids `strength x price level x season x shade x multiplier x pace` on every line. The multiplier is
what it learns, per line and inside fixed bounds; the pace keeps its budget. What a learner wants of a line is
its usual share of wins, the mean of its first weeks: a share above it is value, a share under it is counted
as a loss and weighs more, and bidding higher costs. So a rival that keeps losing people it values bids harder
for them. The value pacer and the rules follow the same habit without trying things out; the random one does
not look at all.
"""

import math

from gaelp.core.jit import jit
from gaelp.core.random import normal, subkey, uniform
from gaelp.market.state import R_AUCTIONS, R_WINS

STRATEGIES = ("q_learning", "policy_gradient", "rule_based", "random", "paced_value")
Q_LEARNING, POLICY_GRADIENT, RULE_BASED, RANDOM = range(4)
LOW, HIGH = 0.4, 2.5
"""Bounds of a learnt multiplier; they keep prices from exploding or collapsing."""
AVERSION = 0.5
GRADIENT_AVERSION = 2.0
"""Weight of a lost usual share against a won one, in Q-learning and in the policy gradient."""
HABIT_DAYS = 45.0
"""Days over which a rival forms its habit; within the warm-up of a new world."""
_RIVAL_KEY = 1 << 30
_N_LINES = 20


@jit(borrows=True)
def price_of(r, line, season):
    """What the market values a click or 1000 impressions of `line` at today, USD."""
    if line < 8:
        group = line // 2
    else:
        group = 4 + (line - 8) // 2
    return r.price_level[group] * r.price_class[line % 2] * season


@jit(borrows=True)
def shade_of(r, line):
    """Share of its value that a rival bids on the line's auction kind."""
    if line < 8:
        return r.shade[0]
    if line < 12:
        return r.shade[1]
    return r.shade[2] if line < 14 else r.shade[3]


@jit(borrows=True)
def open_budgets(rivals, w, adapt):
    """Hourly budget check: a rival that has spent its day's budget rests until midnight."""
    if not adapt:
        return
    for i in range(rivals.strength.shape[1]):
        rivals.active[w, i] = 1 if rivals.spent[w, i] < rivals.budget[w, i] else 0


@jit(borrows=True, rare=True)
def learn_overnight(r, rivals, w, day, season, adapt):
    """Every rival of world `w` reads its report, adapts, and sets the coming day's bids.

    Args:
        r: rules. day: the day that begins; learning starts with the second.
        season: price factor of the month.
        adapt: False leaves bids as they are (a replay sets them).
    """
    for i in range(rivals.strength.shape[1]):
        key = subkey(subkey(r.world_key, _RIVAL_KEY + i), day)
        strategy = rivals.strategy[w, i]
        if adapt and day > 0:
            keep_budget(rivals, w, i)
            for line in range(_N_LINES):
                learn_line(rivals, w, i, line, strategy, key)
        if adapt:
            for line in range(_N_LINES):
                value = rivals.strength[w, i] * price_of(r, line, season) * shade_of(r, line)
                rivals.bid[w, i, line] = value * rivals.multiplier[w, i, line] * rivals.pace[w, i]
        rivals.spent[w, i] = 0.0
        for line in range(rivals.report.shape[2]):
            for f in range(rivals.report.shape[3]):
                rivals.report[w, i, line, f] = 0.0


@jit(borrows=True)
def keep_budget(rivals, w, i):
    """Move the pace towards spending the budget: slowly up, faster down, never above 1."""
    ratio = rivals.budget[w, i] / max(rivals.spent[w, i], 1e-9)
    step = min(max(ratio, 0.8), 1.05)
    rivals.pace[w, i] = min(max(rivals.pace[w, i] * step, 0.2), 1.0)


@jit(borrows=True, rare=True)
def learn_line(rivals, w, i, line, strategy, key):
    """One rival, one line, one night."""
    report = rivals.report[w, i, line]
    if report[R_AUCTIONS] < 1.0 and strategy != RANDOM:
        return
    m = rivals.multiplier[w, i, line]
    if strategy == RANDOM:
        m = math.exp(rivals.explore[w, i] * normal(key, line))
    elif strategy == Q_LEARNING:
        m = q_step(rivals, w, i, line, report, m, key)
    elif strategy == POLICY_GRADIENT:
        m = gradient_step(rivals, w, i, line, m, key)
    elif strategy == RULE_BASED:
        m = rule_step(rivals, w, i, line, report, m)
    else:
        m = value_step(rivals, w, i, line, report, m)
    rivals.multiplier[w, i, line] = min(max(m, LOW), HIGH)


@jit(borrows=True)
def usual_share(trace, share):
    """A line's mean share of wins over the rival's first weeks: what it is used to, and defends."""
    if trace[3] < HABIT_DAYS:
        trace[3] += 1.0
        trace[0] += (share - trace[0]) / trace[3]
    return trace[0]


@jit(borrows=True, rare=True)
def q_step(rivals, w, i, line, report, m, key):
    """Tabular Q-learning on three states of the share of wins and the actions lower, hold, raise."""
    q = rivals.q[w, i, line]
    trace = rivals.trace[w, i, line]
    share = report[R_WINS] / report[R_AUCTIONS]
    used_to = usual_share(trace, share)
    state = 0 if share < 0.85 * used_to else (2 if share > 1.15 * used_to else 1)
    reward = share / max(used_to, 1e-3) - 0.5 * m - AVERSION * max(0.0, 1.0 - share / max(used_to, 1e-3))
    before = int(trace[1])
    if before > 0:
        s, a = (before - 1) // 3, (before - 1) % 3
        best = max(q[state, 0], max(q[state, 1], q[state, 2]))
        q[s, a] += rivals.rate[w, i] * (reward + 0.8 * best - q[s, a])
    action = 1
    if uniform(key, 100 + line) < rivals.explore[w, i]:
        action = int(uniform(key, 200 + line) * 3.0)
    else:
        for a in range(3):
            if q[state, a] > q[state, action]:
                action = a
    trace[1] = 1.0 + state * 3 + action
    return m * (1.0 + 0.06 * (action - 1))


@jit(borrows=True, rare=True)
def gradient_step(rivals, w, i, line, m, key):
    """REINFORCE on the log multiplier: try a little up or down each day, keep what paid.

    All lines of an auction kind try the same and are scored together; one line of a small panel sees too few
    auctions a day to tell a try from luck.
    """
    first, last, kind = 0, 8, 0
    if line >= 14:
        first, last, kind = 14, _N_LINES, 3
    elif line >= 12:
        first, last, kind = 12, 14, 2
    elif line >= 8:
        first, last, kind = 8, 12, 1
    auctions, wins = 0.0, 0.0
    for other in range(first, last):
        auctions += rivals.report[w, i, other, R_AUCTIONS]
        wins += rivals.report[w, i, other, R_WINS]
    trace = rivals.trace[w, i, line]
    share = wins / max(auctions, 1.0)
    relative = share / max(usual_share(trace, share), 1e-3)
    reward = relative - m - GRADIENT_AVERSION * max(0.0, 1.0 - relative)
    tried = trace[1]
    step = rivals.rate[w, i] * (reward - trace[2]) * tried / max(rivals.explore[w, i] ** 2, 1e-6)
    centre = math.log(m) - tried + min(max(step, -0.1), 0.1)
    trace[2] += 0.2 * (reward - trace[2])
    trace[1] = rivals.explore[w, i] * normal(key, 300 + kind)
    return math.exp(centre + trace[1])


@jit(borrows=True, rare=True)
def rule_step(rivals, w, i, line, report, m):
    """Defend: raise what is being lost (own brand terms at once), relax slowly otherwise."""
    share = report[R_WINS] / report[R_AUCTIONS]
    trace = rivals.trace[w, i, line]
    used_to = usual_share(trace, share)
    if line // 2 == 3 and share < 0.9:
        return m * 1.05
    if share < 0.9 * used_to:
        return m * (1.0 + rivals.rate[w, i])
    return m * (1.0 - 0.25 * rivals.rate[w, i] * (m - 1.0))


@jit(borrows=True, rare=True)
def value_step(rivals, w, i, line, report, m):
    """Bid value times a dual multiplier: lean into lines that win less than usual, within the pace."""
    share = report[R_WINS] / report[R_AUCTIONS]
    trace = rivals.trace[w, i, line]
    used_to = usual_share(trace, share)
    return m * math.exp(rivals.rate[w, i] * (used_to - share) / max(used_to, 1e-3) - 0.02 * math.log(m))
