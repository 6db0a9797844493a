"""What every test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


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
