"""What every test may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread(pytestconfig: pytest.Config) -> Iterator[None]:
    """Small worlds are faster on one thread, above all beside other test processes.

    A test that asks for more sets them itself, and sets them back; studies fly large worlds on all threads.
    """
    if "study" in (pytestconfig.getoption("markexpr") or "").replace("not study", ""):
        yield
        return
    import numba  # here, so that loading this file stays light

    import gaelp.core.jit  # noqa: F401 - says how threads wait, before the first call starts them

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """A shell that starts tests in the background lets them ignore Ctrl-C, which some tests send."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache of warmed-up worlds alone; studies use it, as a user would."""
    if "GAELP_CACHE" in os.environ:
        yield
        return
    os.environ["GAELP_CACHE"] = str(tmp_path_factory.mktemp("warmed"))
    yield
    del os.environ["GAELP_CACHE"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data folder that lies beside the repository; its files are never copied into it.

    Where it is absent the test is skipped, unless GAELP_REQUIRE_SHARED=1 says it has to be there.
    """
    folder = REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    reason = "needs the data folder ../shared/data beside the repository"
    if os.environ.get("GAELP_REQUIRE_SHARED") == "1":
        pytest.fail(f"{reason}; GAELP_REQUIRE_SHARED=1 forbids skipping", pytrace=False)
    pytest.skip(reason)
