"""Compilation told apart from the work that needs it.

This file imports nothing of ours but the decorator's module, on purpose: what a file that imports
`core.jit` imports counts as a source of the kernels, so a broader one here would have every edit of a
flight or a policy compile the market anew.
"""

from collections.abc import Callable
from pathlib import Path

from gaelp.core.jit import kernel_cache_dir, kernels_on_disk, watch_compilation


def compile_apart(first_calls: Callable[[], object], announce: Callable[[], None]) -> float:
    """Make the calls that compile what will be needed and return what compiling took.

    Args:
        first_calls: calls every kernel once, with the types of the work to come.
        announce: called once when something has to be compiled, to tell about the wait.

    Returns:
        Wall time spent compiling, s; 0 where everything was found on disk.
    """
    with watch_compilation(announce) as compilation:
        first_calls()
    return compilation.seconds


def kernel_cache() -> tuple[Path, bool]:
    """Return the folder of compiled kernels and whether any of this version lie in it."""
    return kernel_cache_dir(), kernels_on_disk()
