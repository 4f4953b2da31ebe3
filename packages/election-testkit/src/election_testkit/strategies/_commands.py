"""Strategies for commands: the changes that somebody may ask of a group."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from election_core import (
    Command,
    Configure,
    Decide,
    DeleteRunner,
    DrainRunner,
    Leave,
    LoseRunner,
    NewTaint,
    OpenSession,
    PinLeader,
    RegisterRunner,
    Release,
    Snapshot,
    TaintRunner,
    Undrain,
    Unpin,
    Untaint,
)
from election_testkit.strategies._state import (
    EFFECTS,
    KEYS,
    LABELS,
    OWNERS,
    settings,
    spans,
)

__all__ = ["commands", "new_taints"]


@cache
def new_taints() -> st.SearchStrategy[NewTaint]:
    """Taints as they are asked for."""
    return st.builds(NewTaint, key=KEYS, effect=EFFECTS, owner=OWNERS, ttl=st.none() | spans(1, 60))


_COMMANDS = st.sampled_from(
    [
        Decide,
        Configure,
        RegisterRunner,
        DeleteRunner,
        TaintRunner,
        TaintRunner,
        Untaint,
        DrainRunner,
        Undrain,
        PinLeader,
        PinLeader,
        Unpin,
        OpenSession,
        OpenSession,
        Release,
        Leave,
        LoseRunner,
    ]
)
_BOOLEANS = st.booleans()
_FEW_NEW_TAINTS = st.lists(new_taints(), max_size=2).map(tuple)
_ANY_TTL = st.none() | spans(1, 60)
_ANY_TIMEOUT = st.none() | spans(0, 30)
_ANY_KEY = st.none() | KEYS
_ANY_LABELS = st.none() | LABELS


@st.composite
def commands(draw: st.DrawFn, snapshot: Snapshot) -> Command:
    """Anything that may be asked of this group but its deletion, sensible or not."""
    ids = sorted(runner.id for runner in snapshot.runners)
    sessions = {r.id: r.session for r in snapshot.runners if r.session is not None}
    runner_id = draw(st.sampled_from([*ids, *ids, *ids, "nobody"]))
    session = sessions.get(runner_id)
    session_id = "session-gone" if session is None else session.id
    term = snapshot.group.term
    match draw(_COMMANDS):
        case kind if kind is Configure:
            return Configure(settings=draw(settings()))
        case kind if kind is RegisterRunner:
            return RegisterRunner(
                runner_id="new",
                name=draw(st.sampled_from([*ids, "new", "other"])),
                labels=draw(_ANY_LABELS),
                taints=draw(_FEW_NEW_TAINTS),
            )
        case kind if kind is TaintRunner:
            return TaintRunner(runner_id=runner_id, taint=draw(new_taints()))
        case kind if kind is Untaint:
            return Untaint(
                runner_id=runner_id, key=draw(_ANY_KEY), owner=draw(OWNERS), force=draw(_BOOLEANS)
            )
        case kind if kind is DrainRunner:
            return DrainRunner(runner_id=runner_id, timeout=draw(_ANY_TIMEOUT))
        case kind if kind is PinLeader:
            return PinLeader(
                runner_id=runner_id,
                ttl=draw(_ANY_TTL),
                immediate=draw(_BOOLEANS),
                when_eligible=draw(_BOOLEANS),
            )
        case kind if kind is OpenSession:
            keys = ["key-new", *(session.key for session in sessions.values())]
            return OpenSession(
                runner_id=runner_id,
                session_id="session-new",
                session_key=draw(st.sampled_from(keys)),
                previous_session_id=draw(st.sampled_from([None, session_id, "session-gone"])),
                ready=draw(_BOOLEANS),
            )
        case kind if kind is Release:
            held = 0 if term is None else term.epoch
            if term is not None and draw(_BOOLEANS):
                runner_id, session_id = term.runner_id, term.session_id
            epoch = draw(st.sampled_from([held, held, max(0, held - 1)]))
            return Release(runner_id=runner_id, session_id=session_id, epoch=epoch)
        case kind if kind is Leave:
            return Leave(runner_id=runner_id, session_id=session_id)
        case kind if kind is DeleteRunner:
            return DeleteRunner(runner_id=runner_id)
        case kind if kind is Undrain:
            return Undrain(runner_id=runner_id)
        case kind if kind is LoseRunner:
            return LoseRunner(runner_id=runner_id)
        case kind if kind is Unpin:
            return Unpin()
        case _:
            return Decide()
