"""Every error GAELP raises on purpose, as one tree.

```
GaelpError                exit code 1   the work failed
└── BadInput, ValueError  exit code 2   something handed in is wrong; one line says how to mend it
    ├── UnknownName                     a name that nothing is registered under
    ├── MarketFileError                 a market file that cannot be used
    ├── HeldOutError                    training was asked to look at held-out worlds
    └── MismatchError                   a snapshot or checkpoint made by another version
```

A refused bid is no error: it is a `Denial`, a value with a code, a limit and a value.
"""

_LONGEST_VALUE = 80


class GaelpError(Exception):
    """Root of the tree; the command line ends with `exit_code` when it meets one."""

    exit_code = 1


class BadInput(GaelpError, ValueError):
    """Something handed in is wrong.

    Args:
        name: what was wrong, as the reader knows it: an argument, a key, a cell of an array.
        value: what it was.
        allowed: what it may be, a phrase without a full stop.
        remedy: what to do about it, one or more whole sentences.

    >>> print(BadInput("daily_budget_usd", -5.0, "must be at least 0", "Give the budget of one panel."))
    `daily_budget_usd` was -5.0; must be at least 0. Give the budget of one panel.
    """

    exit_code = 2

    def __init__(self, name: str, value: object, allowed: str, remedy: str) -> None:
        # All four go to Exception.args, so the error survives the trip between worker processes.
        super().__init__(name, value, allowed, remedy)
        self.name = name
        self.value = value
        self.allowed = allowed
        self.remedy = remedy

    def __str__(self) -> str:
        return f"`{self.name}` was {_one_line(self.value)}; {self.allowed}. {self.remedy}"


class UnknownName(BadInput):
    """A name that nothing is registered under; see `gaelp.core.names.require_known`."""


class MarketFileError(BadInput):
    """A market file that cannot be used: unknown key, missing key, or a value out of range."""


class HeldOutError(BadInput):
    """Training was asked to look at worlds of the test split."""


class MismatchError(BadInput):
    """A snapshot or checkpoint made by another version of what it would be loaded into."""


def _one_line(value: object) -> str:
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", None) == 0:
        value = item()  # prints `nan`, not `np.float64(nan)`
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
