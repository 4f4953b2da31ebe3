-- compatible-from: 1
-- Everything lives in the schema election, so that a program's own tables live beside it. Columns of
-- type json hold the JSON form that election_core gives the type of that name. Ids are in the order of
-- their characters, whatever the database's collation, so that pages are the same everywhere.

CREATE TABLE election.meta (
    id integer PRIMARY KEY CHECK (id = 1),
    history text NOT NULL, -- election.history() of where this was written
    clock_offset interval NOT NULL DEFAULT interval '0', -- how far the store's time is ahead
    mark_at timestamptz,
    mark_tick interval,
    outages json NOT NULL DEFAULT '[]', -- [began, ended] of each, in microseconds since 1970
    -- Lost commits may be of whole groups, which come back by their names: what remains of those.
    lost_epoch bigint NOT NULL DEFAULT 0, -- no lost group had a higher one
    lost_until timestamptz, -- when the leases of lost groups are over
    events_pruned bigint NOT NULL DEFAULT 0 -- the highest id of an event that was pruned
) WITH (fillfactor = 10);

CREATE TABLE election.runner_group (
    id text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL, -- the group's is this plus the due_count of its runners
    commit_id text NOT NULL, -- the latest commit, to answer it again
    commit_revision bigint NOT NULL,
    commit_at timestamptz NOT NULL,
    settings json NOT NULL,
    lease interval NOT NULL, -- this and the next three: of the settings, for SQL
    heartbeat interval NOT NULL,
    retention interval NOT NULL,
    retry_backoff interval NOT NULL,
    created_at timestamptz NOT NULL,
    epoch bigint NOT NULL,
    term_epoch bigint,
    term_runner_id text COLLATE "C",
    term_session_id text COLLATE "C",
    term_elected_at timestamptz,
    term_kind text,
    term_reason text,
    ended text,
    ended_at timestamptz,
    pin json,
    handover json,
    grant_not_before timestamptz,
    decided_at timestamptz,
    look_again_at timestamptz,
    deleted_at timestamptz
) WITH (fillfactor = 70);

CREATE INDEX runner_group_due ON election.runner_group (look_again_at) WHERE look_again_at IS NOT NULL;

-- What is written of a group by others than those who change it. They must not wait for the row
-- above, which fenced transactions share for as long as they take, one behind the other.
CREATE TABLE election.upkeep (
    group_id text COLLATE "C" PRIMARY KEY,
    held_until timestamptz, -- an elector has it in hand until then, at this revision
    held_revision bigint,
    events_pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Heartbeats update rows of this table and no other. No index mentions what they change, so that
-- they stay heap-only, and pages keep room for the new versions.
CREATE TABLE election.runner (
    id text COLLATE "C" PRIMARY KEY,
    group_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    platform text NOT NULL,
    labels json NOT NULL,
    version text NOT NULL,
    instance_key_hash text,
    taints json NOT NULL,
    drain json,
    steady_since timestamptz NOT NULL,
    opened integer NOT NULL,
    session_id text COLLATE "C", -- from here on the current session; all NULL without one
    session_key text,
    session_opened_at timestamptz,
    lease_expires_at timestamptz,
    ready boolean,
    seq bigint,
    healthy_since timestamptz,
    held_epoch bigint,
    term_expires_at timestamptz,
    step_down_at timestamptz,
    standing_version bigint,
    due_count bigint NOT NULL DEFAULT 0, -- how many renewals have made the group due
    due_since timestamptz -- the latest of them that was not decided about
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX runner_name ON election.runner (group_id, name);
CREATE INDEX runner_age ON election.runner (group_id, created_at, id);
CREATE INDEX runner_leading ON election.runner (group_id) WHERE held_epoch IS NOT NULL;
CREATE INDEX runner_due ON election.runner (due_since) WHERE due_since IS NOT NULL;

CREATE TABLE election.ended_session (
    place bigint GENERATED ALWAYS AS IDENTITY,
    session_id text COLLATE "C" PRIMARY KEY,
    runner_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    session_key text NOT NULL,
    how text NOT NULL,
    ended_at timestamptz NOT NULL
);

CREATE INDEX ended_session_key ON election.ended_session (runner_id, session_key);
CREATE INDEX ended_session_age ON election.ended_session (group_id, ended_at);

CREATE SEQUENCE election.event_id;

CREATE TABLE election.event (
    id bigint PRIMARY KEY,
    group_id text COLLATE "C" NOT NULL,
    happened_at timestamptz NOT NULL,
    kind text NOT NULL,
    epoch bigint NOT NULL,
    runner_id text COLLATE "C",
    reason text NOT NULL,
    actor text NOT NULL,
    details json NOT NULL
);

CREATE INDEX event_group ON election.event (group_id, id);
CREATE INDEX event_age ON election.event (group_id, happened_at);

CREATE SEQUENCE election.job_seq;

-- Each version of a job has an entry of its own under its keys; to put those together takes longer
-- than it saves.
CREATE TABLE election.job (
    seq bigint NOT NULL DEFAULT nextval('election.job_seq'),
    id text COLLATE "C" NOT NULL UNIQUE WITH (deduplicate_items = off),
    group_id text COLLATE "C" NOT NULL,
    runner_id text COLLATE "C",
    kind text NOT NULL,
    payload text NOT NULL, -- JSON, as it was given
    priority bigint NOT NULL,
    max_attempts bigint NOT NULL,
    created_at timestamptz NOT NULL,
    state text NOT NULL,
    attempts bigint NOT NULL,
    available_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    claimed_by text COLLATE "C",
    epoch bigint,
    cancel_requested boolean NOT NULL,
    result text NOT NULL, -- JSON, as it was given
    error text,
    claim_token text,
    claim_id text COLLATE "C",
    claim_runner_id text COLLATE "C",
    claim_session_id text COLLATE "C",
    claim_epoch bigint,
    settled_token text,
    settled_outcome text,
    idempotency_key text,
    fingerprint text NOT NULL,
    PRIMARY KEY (group_id, seq) WITH (deduplicate_items = off)
) WITH (fillfactor = 80);

-- Every change of state writes to each index whose condition holds, so there are few.
-- The queues of a group and of each addressed runner are in the order in which they are claimed.
CREATE INDEX job_queue ON election.job (group_id, priority DESC, seq)
WHERE state = 'queued' AND runner_id IS NULL;
CREATE INDEX job_addressed ON election.job (runner_id, priority DESC, seq)
WHERE state = 'queued' AND runner_id IS NOT NULL;
CREATE INDEX job_running ON election.job (group_id, claim_session_id) WHERE state = 'running';
CREATE INDEX job_cancelled ON election.job (claim_session_id)
WHERE state = 'running' AND cancel_requested;
CREATE INDEX job_unfinished ON election.job (runner_id)
WHERE runner_id IS NOT NULL AND finished_at IS NULL;
CREATE INDEX job_age ON election.job (group_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX job_key ON election.job (group_id, idempotency_key)
WHERE idempotency_key IS NOT NULL;

-- What each claim was given, to answer it again: of each job, in order, what changes later.
CREATE TABLE election.claim (
    session_id text COLLATE "C" NOT NULL,
    claim_id text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    claimed_at timestamptz NOT NULL,
    epoch bigint,
    seqs bigint[] NOT NULL,
    tokens text[] NOT NULL,
    attempts bigint[] NOT NULL,
    available_ats timestamptz[] NOT NULL,
    errors text[] NOT NULL,
    PRIMARY KEY (session_id, claim_id)
) WITH (toast_tuple_target = 8160); -- its arrays are random, and not worth compressing

CREATE INDEX claim_age ON election.claim (group_id, claimed_at);

CREATE TABLE election.token (
    id text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    group_id text COLLATE "C",
    runner_id text COLLATE "C",
    digest bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);

CREATE INDEX token_group ON election.token (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX token_age ON election.token (expires_at) WHERE expires_at IS NOT NULL;
