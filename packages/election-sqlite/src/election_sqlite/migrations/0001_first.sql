-- Times and durations are integer microseconds, times since 1970 in UTC. JSON columns hold the JSON form
-- that election_core gives the type of that name. All names begin with election_, so that the tables of
-- a program that embeds the store live beside them.

CREATE TABLE election_meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0, -- how many incarnations came before this one
    copied INTEGER NOT NULL DEFAULT 0, -- a backup: whoever opens it makes a new incarnation of it
    -- Lost commits may be of whole groups, which come back by their names: what remains of those.
    lost_epoch INTEGER NOT NULL DEFAULT 0, -- no lost group had a higher one
    lost_until INTEGER, -- when the leases of lost groups are over
    high_water INTEGER NOT NULL, -- the store's time at the newest write
    wall_offset INTEGER NOT NULL, -- how far the store's time was ahead of the wall clock at the last start
    origin TEXT, -- what `elapsed` counts from
    elapsed INTEGER NOT NULL, -- the elapsed time at `high_water`
    mark_at INTEGER,
    mark_tick INTEGER,
    outages TEXT NOT NULL DEFAULT '[]', -- JSON: [began, ended] of each
    events_pruned INTEGER NOT NULL DEFAULT 0 -- the highest id of an event that was pruned
) STRICT;

CREATE TABLE election_group (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    commit_id TEXT NOT NULL, -- the latest commit, to answer it again
    commit_revision INTEGER NOT NULL,
    commit_at INTEGER NOT NULL,
    settings TEXT NOT NULL, -- JSON
    lease INTEGER NOT NULL, -- of the settings, for SQL
    heartbeat INTEGER NOT NULL, -- of the settings, for SQL
    retention INTEGER NOT NULL, -- of the settings, for SQL
    created_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    term_runner_id TEXT,
    term_session_id TEXT,
    term_elected_at INTEGER,
    term_epoch INTEGER,
    term_kind TEXT,
    term_reason TEXT,
    ended TEXT,
    ended_at INTEGER,
    pin TEXT, -- JSON
    handover TEXT, -- JSON
    grant_not_before INTEGER,
    decided_at INTEGER,
    look_again_at INTEGER,
    deleted_at INTEGER,
    events_pruned INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX election_group_due ON election_group (look_again_at) WHERE look_again_at IS NOT NULL;
CREATE INDEX election_group_lease ON election_group (lease);

CREATE TABLE election_runner (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES election_group (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    platform TEXT NOT NULL,
    labels TEXT NOT NULL, -- JSON
    version TEXT NOT NULL,
    instance_key_hash TEXT,
    taints TEXT NOT NULL, -- JSON
    drain TEXT, -- JSON
    steady_since INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    session_id TEXT, -- from here on the current session; all NULL without one
    session_key TEXT,
    session_opened_at INTEGER,
    lease_expires_at INTEGER,
    ready INTEGER,
    seq INTEGER,
    healthy_since INTEGER,
    held_epoch INTEGER,
    term_expires_at INTEGER,
    step_down_at INTEGER,
    standing_version INTEGER
) STRICT;

CREATE UNIQUE INDEX election_runner_name ON election_runner (group_id, name);
CREATE INDEX election_runner_age ON election_runner (group_id, created_at, id);
CREATE INDEX election_runner_term ON election_runner (term_expires_at) WHERE held_epoch IS NOT NULL;

CREATE TABLE election_ended_session (
    session_id TEXT PRIMARY KEY,
    runner_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    session_key TEXT NOT NULL,
    how TEXT NOT NULL,
    ended_at INTEGER NOT NULL
) STRICT;

CREATE INDEX election_ended_session_key ON election_ended_session (runner_id, session_key);
CREATE INDEX election_ended_session_age ON election_ended_session (group_id, ended_at);

CREATE TABLE election_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id TEXT NOT NULL,
    happened_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    runner_id TEXT,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    details TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX election_event_group ON election_event (group_id, id);
CREATE INDEX election_event_age ON election_event (group_id, happened_at);

CREATE TABLE election_job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    group_id TEXT NOT NULL REFERENCES election_group (id),
    runner_id TEXT,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL, -- JSON
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    available_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    claimed_by TEXT,
    epoch INTEGER,
    cancel_requested INTEGER NOT NULL,
    result TEXT NOT NULL, -- JSON
    error TEXT,
    claim_token TEXT,
    claim_id TEXT,
    claim_runner_id TEXT,
    claim_session_id TEXT,
    claim_epoch INTEGER,
    settled_token TEXT,
    settled_outcome TEXT,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL
) STRICT;

-- The queues of a group and of each addressed runner, in the order in which they are claimed.
CREATE INDEX election_job_queue ON election_job (group_id, priority DESC, seq, available_at)
WHERE state = 'queued' AND runner_id IS NULL;
CREATE INDEX election_job_addressed ON election_job (runner_id, priority DESC, seq, available_at)
WHERE state = 'queued' AND runner_id IS NOT NULL;
CREATE INDEX election_job_term ON election_job (group_id, claim_epoch) WHERE state = 'running';
CREATE INDEX election_job_session ON election_job (claim_session_id) WHERE state = 'running';
CREATE INDEX election_job_runner ON election_job (runner_id) WHERE runner_id IS NOT NULL;
CREATE INDEX election_job_state ON election_job (group_id, state, seq);
CREATE INDEX election_job_group ON election_job (group_id, seq);
CREATE INDEX election_job_age ON election_job (group_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX election_job_key ON election_job (group_id, idempotency_key)
WHERE idempotency_key IS NOT NULL;

-- What each claim was answered, to answer it again: of each job, what changes later.
CREATE TABLE election_claim (
    session_id TEXT NOT NULL,
    claim_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    epoch INTEGER,
    jobs TEXT NOT NULL, -- JSON: [[seq, token, attempts, available_at, error], …]
    PRIMARY KEY (session_id, claim_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX election_claim_age ON election_claim (group_id, claimed_at);

CREATE TABLE election_token (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    group_id TEXT,
    runner_id TEXT,
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE INDEX election_token_group ON election_token (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX election_token_runner ON election_token (runner_id) WHERE runner_id IS NOT NULL;
CREATE INDEX election_token_age ON election_token (expires_at) WHERE expires_at IS NOT NULL;
