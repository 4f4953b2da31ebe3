"""What Prometheus may ask: each application counts into a registry of its own.

Labels are kinds, reasons, codes and route templates, never ids, so their number stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from election_core import EndedSession, Event, EventKind, Kind, Pulse, Unavailable
from election_core.ports import Beaten, Census

__all__ = ["Metrics"]

_GAPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60, 120, 300)
_MARGINS = (0, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 900, 3600)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts what happens; give it to the engine as its observer, and to the application.

    Args:
        registry: Where to count; a fresh one unless given.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._handovers: dict[str, datetime] = {}
        self._requests: dict[tuple[str, str, int], Counter] = {}
        ProcessCollector(registry=self.registry)
        self._state_gauges()
        self._event_counters()
        self._call_counters()

    def _state_gauges(self) -> None:
        registry = self.registry
        self._groups = Gauge(
            "election_groups",
            "Runner groups: led by a runner whose lease is live, or vacant.",
            ["state"],
            registry=registry,
        )
        self._runners = Gauge("election_runners", "Registered runners.", registry=registry)
        self._sessions = Gauge(
            "election_live_sessions", "Sessions whose lease is live.", registry=registry
        )
        self._jobs = Gauge("election_jobs", "Jobs by state.", ["state"], registry=registry)

    def _event_counters(self) -> None:
        registry = self.registry
        self._elections = Counter(
            "election_elections",
            "Leaders elected, by what ended the term before and by the preference that decided.",
            ["kind", "reason"],
            registry=registry,
        )
        self._leaderless = Counter(
            "election_leaderless_seconds",
            "Seconds that groups were without a leader, counted when the next is elected.",
            registry=registry,
        )
        self._failover = Histogram(
            "election_failover_seconds",
            "From the end of a silent leader's lease to the next leader.",
            buckets=_GAPS,
            registry=registry,
        )
        self._handover = Histogram(
            "election_handover_seconds",
            "From the start of a handover to the next leader.",
            buckets=_GAPS,
            registry=registry,
        )

    def _call_counters(self) -> None:
        registry = self.registry
        self._beats = Counter(
            "election_heartbeats", "Heartbeats by outcome.", ["outcome"], registry=registry
        )
        self._margin = Histogram(
            "election_renewal_margin_seconds",
            "What was left of a lease when it was renewed; 0 for one that had run out.",
            buckets=_MARGINS,
            registry=registry,
        )
        self._refusals = Counter(
            "election_refusals", "Calls refused, by code.", ["code"], registry=registry
        )
        self._waiting = Gauge(
            "election_waiting_calls", "Calls that are held until there is news.", registry=registry
        )
        self._streams = Gauge(
            "election_event_streams", "Streams of events that are open.", registry=registry
        )
        self._http = Counter(
            "election_http_requests",
            "Answers by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )

    # What the engine tells.

    def committed(self, events: Sequence[Event]) -> None:
        """See `election_core.engine.Observer`."""
        for event in events:
            match event.kind:
                case EventKind.HANDOVER_STARTED:
                    self._handovers.setdefault(event.group_id, event.at)
                case EventKind.ELECTED:
                    self._elected(event)
                case EventKind.HANDOVER_CANCELLED | EventKind.VACATED | EventKind.GROUP_DELETED:
                    self._handovers.pop(event.group_id, None)
                case _:
                    pass

    def _elected(self, event: Event) -> None:
        kind = str(event.data.get("kind", ""))
        self._elections.labels(kind, event.reason).inc()
        started = self._handovers.pop(event.group_id, None)
        if started is not None and kind == Kind.HANDOVER:
            self._handover.observe(max(0.0, (event.at - started).total_seconds()))
        gap = event.data.get("leaderless_seconds")
        if isinstance(gap, int | float):
            self._leaderless.inc(max(0.0, gap))
            if kind == Kind.FAILOVER:
                self._failover.observe(max(0.0, gap))

    def beaten(self, answers: Sequence[Beaten]) -> None:
        """See `election_core.engine.Observer`."""
        outcomes: dict[str, int] = {}
        for answer in answers:
            if isinstance(answer, Pulse):
                outcome = "renewed"
                if answer.margin is not None:
                    self._margin.observe(max(0.0, answer.margin.total_seconds()))
            elif isinstance(answer, EndedSession):
                outcome = answer.how.value
            else:
                outcome = "unavailable" if isinstance(answer, Unavailable) else "unknown"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        for outcome, count in outcomes.items():
            self._beats.labels(outcome).inc(count)

    # What the application tells.

    def refused(self, code: str) -> None:
        """A call was refused."""
        self._refusals.labels(code).inc()

    def answered(self, method: str, route: str, status: int) -> None:
        """A request was answered."""
        key = (method, route, status)
        counter = self._requests.get(key)
        if counter is None:
            method = method if method in _METHODS else "other"
            counter = self._http.labels(method, route, str(status))
            if method != "other":
                self._requests[key] = counter
        counter.inc()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a call is held."""
        with self._waiting.track_inprogress():
            yield

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While a stream is open."""
        with self._streams.track_inprogress():
            yield

    def render(
        self, census: Census, jobs: Mapping[str, int], accept: str | None = None
    ) -> tuple[bytes, str]:
        """Everything, in the format that is asked for, and its media type."""
        self._groups.labels("led").set(census.led)
        self._groups.labels("vacant").set(census.groups - census.led)
        self._runners.set(census.runners)
        self._sessions.set(census.live_sessions)
        for state in ("queued", "running", "succeeded", "failed", "cancelled"):
            self._jobs.labels(state).set(jobs.get(state, 0))
        encoder, media_type = choose_encoder(accept or "")
        return encoder(self.registry), media_type
