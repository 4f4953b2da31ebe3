"""Settings of the whole test run: how hypothesis searches, and that documented Python runs."""

import contextlib
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

# Whoever starts the tests in the background of a script has them ignore SIGINT, and all that they
# start with them; Ctrl-C is something that users can rely on, so it is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The processes that tests run in are measured. What these start runs as it does for users: tracing
# makes it slower, and has it handle signals where they can be late.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# How long an example takes says nothing about whether the promise holds, so there is no deadline.
settings.register_profile("dev", deadline=None, max_examples=50)
# The same examples each time, so that a red build can be repeated.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# For a long search by hand.
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


# Databases for whatever test asks for one.
pytest_plugins = ["postgres_fixtures"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed goes from process to process, and not all of it can be UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of its own for each page, so that examples may write files where they are."""
    with contextlib.chdir(tmp_path_factory.mktemp("page")):
        yield


@pytest.fixture(scope="module")
def page_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """A database for each page that asks the environment for one."""
    if "DATABASE_URL" not in request.path.read_text(encoding="utf-8"):
        yield
        return
    postgres = request.getfixturevalue("postgres")
    os.environ["DATABASE_URL"] = dsn = postgres.create_database()
    yield
    del os.environ["DATABASE_URL"]
    postgres.drop(dsn)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md", "packages/*/README.md"],
    fixtures=["page_folder", "page_database"],
).pytest()
