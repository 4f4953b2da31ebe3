"""The checks of this repository, each in an environment of its own.

`nox` runs them all; `nox -s lint types` runs some; `nox --list` names them. Arguments after `--`
go to the tool: `nox -s tests -- packages/election-core -k handover`.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "imports", "tests", "docs", "e2e"]

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))

# What of election_core may do I/O; everything else in it is pure and covered completely.
IMPURE_CORE = "*/election_core/ports.py,*/election_core/memory/*,*/election_core/engine/*"

# One file more runs at once than there are processors, for tests wait as well as compute. The
# blocks of a page and the tests of a file stay together: they may share a server.
PARALLEL = [f"--numprocesses={(os.cpu_count() or 1) + 1}", "--dist=loadfile"]

# Tests end to end, also those of one package: they start real processes, and wait for them.
END_TO_END = [
    "tests/e2e",
    "packages/election-cli/tests/test_backup.py",
    "packages/election-cli/tests/test_demo_performance.py",
    "packages/election-cli/tests/test_serve.py",
    "packages/election-cli/tests/test_serve_postgres.py",
    "packages/election-ctl-api/tests/test_serve.py",
    "packages/election-sdk/tests/test_processes.py",
]

# What runs on other versions of Postgres as well.
POSTGRES_TESTS = ["packages/election-postgres/tests", "packages/election-cli/tests/test_migrate.py"]
POSTGRES_GLOBS = ["packages/*/tests/test_*postgres*.py", "tests/e2e/test_*postgres*.py"]


def _sync(session: nox.Session, *options: str) -> None:
    """Install what the options of `uv sync` say, into this session's environment only."""
    environment = session.virtualenv.location
    session.run_install(
        "uv",
        "sync",
        "--quiet",
        "--no-default-groups",
        f"--python={environment}",
        *options,
        env={"UV_PROJECT_ENVIRONMENT": environment},
        external=True,
    )


def _existing(*paths: str) -> list[str]:
    """Those of the paths that are there."""
    return [path for path in paths if (ROOT / path).exists()]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely bugs, docstrings and formatting."""
    _sync(session, "--only-group=lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session(name="format", default=False)
def format_(session: nox.Session) -> None:
    """Put right what ruff can put right by itself."""
    _sync(session, "--only-group=lint")
    session.run("ruff", "check", "--fix", *session.posargs)
    session.run("ruff", "format", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly; each package's tests by themselves, as their modules share names."""
    _sync(session, "--all-packages", "--group=types")
    session.run(
        "mypy",
        *(str(package.relative_to(ROOT) / "src") for package in PACKAGES),
        *_existing("conftest.py", "noxfile.py", "tests", "benchmarks", "examples"),
    )
    for package in PACKAGES:
        if list(package.glob("tests/**/*.py")):
            session.run("mypy", str(package.relative_to(ROOT) / "tests"))


@nox.session
def imports(session: nox.Session) -> None:
    """Dependencies between layers point one way."""
    _sync(session, "--all-packages", "--group=imports")
    session.run("lint-imports", "--no-logo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that Python and pip suffice for but end to end, with coverage of branches.

    With arguments, runs only what they say and leaves coverage out.
    """
    _sync(session, "--all-packages", "--group=test")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("coverage", "erase")
    elsewhere = [f"--ignore={path}" for path in (*END_TO_END, "tests/pooler")]
    session.run("coverage", "run", "-m", "pytest", *elsewhere, *PARALLEL)
    session.run("coverage", "combine", "--quiet")
    session.log("The pure part of the core: every branch")
    session.run(
        "coverage",
        "report",
        "--include=*/election_core/*",
        f"--omit={IMPURE_CORE}",
        "--fail-under=100",
    )
    session.log("The rest: nine branches in ten")
    pure = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("packages/election-core/src/election_core/*.py")
        if path.name != "ports.py"
    ]
    session.run("coverage", "report", f"--omit={','.join(pure)}", "--fail-under=90")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a broken link or an unknown name fails."""
    _sync(session, "--all-packages", "--group=docs")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def e2e(session: nox.Session) -> None:
    """Real processes on real sockets and files, killed and frozen for real."""
    _sync(session, "--all-packages", "--group=test")
    session.run("pytest", *(session.posargs or [*END_TO_END, *PARALLEL]))


@nox.session(default=False)
def tests_postgres(session: nox.Session) -> None:
    """Postgres from the folder in ELECTION_TEST_POSTGRES_BIN, and behind pgbouncer.

    The other sessions use the Postgres of a wheel. What is missing fails, nothing is skipped.
    """
    if not os.environ.get("ELECTION_TEST_POSTGRES_BIN"):
        session.error("set ELECTION_TEST_POSTGRES_BIN, as to /usr/lib/postgresql/15/bin")
    _sync(session, "--all-packages", "--group=test")
    found = {path.relative_to(ROOT) for pattern in POSTGRES_GLOBS for path in ROOT.glob(pattern)}
    others = sorted(str(path) for path in found if path.parts[1] != "election-postgres")
    tests = [*POSTGRES_TESTS, *others, "tests/pooler"]
    session.run("pytest", *(session.posargs or [*tests, *PARALLEL]))


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure; see benchmarks/README.md for what is measured and how to read it."""
    _sync(session, "--all-packages", "--group=test", "--group=bench")
    for path in sorted(ROOT.glob("benchmarks/bench_*.py")):
        session.run("python", str(path.relative_to(ROOT)), *session.posargs)


@nox.session(venv_backend="none", default=False)
def clean(session: nox.Session) -> None:
    """Remove what the other sessions left behind."""
    for path in _existing("site", "htmlcov", ".mypy_cache", ".ruff_cache", ".pytest_cache"):
        session.log(f"removing {path}")
        shutil.rmtree(ROOT / path)
