"""The one way to compile a kernel.

Numba's own cache looks only at the file a function stands in: a helper or a constant edited in another
file leaves stale machine code behind, a fresh clone has no cache at all, and a tree that cannot be written
fails at import. Here every kernel is cached in one folder named by a hash of all sources a kernel can reach
and of the Numba version, and the folder falls back to the user's cache and then to a temporary place.
"""

import ast
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeVar, overload

# Numba's threads meet once per simulated hour, which lasts microseconds: threads that spin while they wait
# for each other cost forty times that where another program wants the core. Read when the threads start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numba
from llvmlite import ir
from numba.core import cgutils, event, types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE: Final = Path(__file__).parents[1]
_FOLDERS_KEPT: Final = 3


@overload
def jit(fn: Function) -> Function: ...
@overload
def jit(
    *, parallel: bool = False, inline: bool = False, borrows: bool = False, rare: bool = False
) -> Callable[[Function], Function]: ...
def jit(
    fn: Function | None = None,
    *,
    parallel: bool = False,
    inline: bool = False,
    borrows: bool = False,
    rare: bool = False,
) -> Any:
    """Compile a function to machine code on its first call and keep the result for the next process.

    The global interpreter lock is released, division by zero follows NumPy, and floating point is never
    reordered, so results are equal bit for bit on one machine and one Numba version.

    Args:
        fn: the function; left out where the decorator is given options.
        parallel: let `numba.prange` loops run on several threads.
        inline: copy the body into each caller; for tiny helpers, and only where a measurement asks for it.
        borrows: the function only borrows its arrays: it may slice them, but creates none. Their references
            are then not counted, and the body is copied into its caller's machine code; passing a record of
            forty arrays costs 300 ns otherwise.
        rare: with `borrows`, leave the function a call of its own: for what an hour seldom does, so that the
            hot path stays small and compiles in half the time.

    Returns:
        The compiled function, with the signature it had.
    """
    options: dict[str, Any] = {"_nrt": False, "forceinline": not rare} if borrows else {}

    def compile_lazily(function: Function) -> Any:
        with _cache_in(kernel_cache_dir()):
            return numba.njit(
                function,
                cache=True,
                nogil=True,
                error_model="numpy",
                fastmath=False,
                boundscheck=False,
                parallel=parallel,
                inline="always" if inline else "never",
                **options,
            )

    return compile_lazily if fn is None else compile_lazily(fn)


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any, offset: Any) -> Any:  # pragma: no cover - compiled
    """Inside a kernel: ask for the cache line `offset` bytes into row `row` of `array`, without waiting.

    A hint for data that a loop will want some rounds later; it changes no result and cannot fault.
    """
    signature = types.void(array, types.int64, types.int64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        struct = context.make_array(sig.args[0])(context, builder, args[0])
        stride = builder.extract_value(struct.strides, 0)
        byte = ir.IntType(8)
        start = builder.bitcast(struct.data, byte.as_pointer())
        at = builder.gep(start, [builder.add(builder.mul(args[1], stride), args[2])])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(hint, [at, number(1), number(3), number(1)])  # for writing, keep, data
        return context.get_dummy_value()

    return signature, generate


@lru_cache(maxsize=1)
def kernel_cache_dir() -> Path:
    """Return the folder that this process keeps compiled kernels in; it exists and can be written.

    Tried in turn: below NUMBA_CACHE_DIR where that is set, beside the package, in the user's cache, and in a
    temporary folder. The three versions used last are kept; older ones are deleted when a new one is made.
    """
    version = sources_hash()
    for parent in _candidate_parents():
        folder = parent / version
        is_new = not folder.is_dir()
        if _make_writable(folder):
            os.utime(folder)  # "used last" is what pruning goes by
            if is_new:
                _prune(parent)
            return folder
    private = Path(tempfile.mkdtemp(prefix="gaelp-kernels-")) / version
    private.mkdir()
    return private


def sources_hash() -> str:
    """Return a hash of the Numba version and of every source file whose content kernels can depend on.

    That is each file of the package that imports this decorator, and what those files import, and so on:
    Numba compiles the helpers and freezes the constants found there into the machine code.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in _kernel_sources():
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def kernels_on_disk() -> bool:
    """Tell whether any kernel of this version has been compiled before, here or in another process."""
    return any(kernel_cache_dir().rglob("*.nbi"))


def compiled(fn: Callable[..., Any]) -> bool:
    """Tell whether this process has machine code for a kernel, compiled or loaded from disk.

    Args:
        fn: a function decorated with `jit`.

    Returns:
        True once the function has been called; also where Numba is switched off by NUMBA_DISABLE_JIT.
    """
    return bool(getattr(fn, "signatures", True))


@dataclass
class Compilation:
    """What the compiler did while `watch_compilation` watched.

    Attributes:
        kernels: how many functions were compiled; loading one from disk does not count.
        seconds: wall time spent on it, s; nested compilations are counted once.
    """

    kernels: int = 0
    seconds: float = 0.0


@contextmanager
def watch_compilation(announce: Callable[[], None] | None = None) -> Iterator[Compilation]:
    """Time the compilation that happens inside the block, so that it can be told apart from the work.

    Args:
        announce: called once, when the first function starts to compile; to tell the user about the wait.

    Yields:
        The count and the time, up to date at every moment and final when the block ends.
    """
    listener = _CompilationListener(announce)
    with event.install_listener("numba:compile", listener):
        yield listener.total


class _CompilationListener(event.Listener):
    """Adds up the outermost compile events of this process."""

    def __init__(self, announce: Callable[[], None] | None) -> None:
        self.total = Compilation()
        self._announce = announce
        self._depth = 0
        self._started_s = 0.0

    def on_start(self, event: Any) -> None:
        if self._announce is not None:
            announce, self._announce = self._announce, None
            announce()
        if self._depth == 0:
            self._started_s = perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        self.total.kernels += 1
        if self._depth == 0:
            self.total.seconds += perf_counter() - self._started_s


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    # Numba fixes a function's cache path when it is decorated, so the setting need not outlive that:
    # other libraries' kernels in this process keep the place they would have had.
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        settings.CACHE_DIR = before


def _candidate_parents() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen) / "gaelp"
    yield _PACKAGE / "__kernels__"
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user_cache.is_absolute():  # "~" stays as it is for a user without a home
        yield user_cache / "gaelp" / "kernels"
    yield Path(tempfile.gettempdir()) / f"gaelp-kernels-{os.getuid()}"


def _make_writable(folder: Path) -> bool:
    try:
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for level in (folder.parent, folder):
            level.mkdir(mode=0o700, exist_ok=True)
            status = level.stat()
            # A cached kernel is code that will run: never take it from where others can write.
            if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return False
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _prune(parent: Path) -> None:
    def last_used(folder: Path) -> float:
        try:
            return folder.stat().st_mtime
        except OSError:  # another process deleted it meanwhile
            return 0.0

    folders = sorted((folder for folder in parent.iterdir() if folder.is_dir()), key=last_used, reverse=True)
    for folder in folders[_FOLDERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _kernel_sources() -> list[Path]:
    """The files that import this decorator, and all they import from the package, in a fixed order."""
    modules = {_module_name(path): path for path in _PACKAGE.rglob("*.py")}
    found: set[str] = set()
    waiting = [name for name, path in modules.items() if _may_hold_kernels(path)]
    imports = {name: _imports(name, modules[name]) for name in waiting}
    waiting = [name for name in waiting if f"{__name__}.jit" in imports[name]]
    while waiting:
        name = waiting.pop()
        if name in found or name not in modules:
            continue
        found.add(name)
        waiting.extend(imports[name] if name in imports else _imports(name, modules[name]))
    return sorted(modules[name] for name in found)


def _may_hold_kernels(path: Path) -> bool:
    return b"jit" in path.read_bytes()  # parsing every file would cost a tenth of a second at each start


def _module_name(path: Path) -> str:
    parts = (_PACKAGE.name, *path.relative_to(_PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path) -> set[str]:
    """Absolute names a file imports: modules, and `module.attribute`, which may be a module too."""
    found: set[str] = set()
    # Relative imports count from the package the file stands in.
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found
