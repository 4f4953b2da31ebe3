-- compatible-from: 1
-- Each call of a store is one call of one function, so a caller that is cancelled, frozen or lost
-- leaves no open transaction behind. Errors that callers tell apart have codes of the class EL:
-- EL001 the history is another, EL409 a conflict, EL410 a cursor that was pruned.

CREATE FUNCTION election.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT clock_timestamp()';

-- Which database this is, of which server; and which of its tables, for one that was dropped and
-- restored is another. A connection keeps to one server and database, so that is read once for each,
-- when what asks for it is planned; and again for another table, if what asks reads the table too.
CREATE FUNCTION election.place() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT system_identifier || '/' || split_part(pg_relation_filepath('election.meta'), '/', -2)
        || '/' || 'election.meta'::regclass::oid
    FROM pg_control_system()
$$;

-- Which line of commits this is: by the place, for what was dumped and restored, or copied, begins
-- another; and by the timeline of the server, for so does one that was promoted or recovered.
CREATE FUNCTION election.history() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT election.place() || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
$$;

-- The store's time: never before the mark, nor before what the caller has seen.
CREATE FUNCTION election.time(p_floor timestamptz) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_at timestamptz;
BEGIN
    SELECT greatest(election.clock() + clock_offset, mark_at, p_floor) INTO v_at FROM election.meta;
    RETURN v_at;
END $$;

-- The store's time, on a history that has lost nothing.
CREATE FUNCTION election.now(p_floor timestamptz) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_at timestamptz;
BEGIN
    SELECT greatest(election.clock() + clock_offset, mark_at, p_floor) INTO v_at
    FROM election.meta WHERE history = election.history();
    IF v_at IS NULL THEN
        RAISE EXCEPTION 'the newest commits may be missing' USING ERRCODE = 'EL001';
    END IF;
    RETURN v_at;
END $$;

-- The beginning of everything that writes: what is answered is durable.
CREATE FUNCTION election.writing(p_floor timestamptz) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN election.now(p_floor);
END $$;

-- Who writes under an epoch shares a group with its like; who changes its leadership has it alone.
-- Waiting is in order of arrival, so neither starves the other.
CREATE FUNCTION election.share(p_group text) RETURNS void LANGUAGE sql VOLATILE
AS 'SELECT pg_advisory_xact_lock_shared(1164731252, hashtext(p_group))';

CREATE FUNCTION election.have_alone(p_group text) RETURNS void LANGUAGE sql VOLATILE
AS 'SELECT pg_advisory_xact_lock(1164731252, hashtext(p_group))';

-- The newest id of an event that was taken, whether its commit is done or not; 0 before the first.
CREATE FUNCTION election.last_event_id() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM election.event_id);
END $$;

-- Announces that ids of events behind the newest will be taken; to be called before taking them.
CREATE FUNCTION election.begin_events() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(
        (1164731237::bigint << 32) | (election.last_event_id() & 4294967295)
    )
$$;

-- The highest id up to which no event is still to come: below what any commit under way announced.
CREATE FUNCTION election.events_settled() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_last bigint := election.last_event_id();
    v_open bigint;
BEGIN
    SELECT min(v_last - ((v_last - objid::bigint) & 4294967295)) INTO v_open
    FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 1164731237::oid AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(v_last, coalesce(v_open, v_last));
END $$;

-- A group's revision, and since when renewals have wanted a decision.
CREATE FUNCTION election.stirred(p_group text, OUT due_count bigint, OUT due_since timestamptz)
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(due_count), 0)::bigint, max(due_since)
    FROM election.runner WHERE group_id = p_group
$$;

CREATE FUNCTION election.commit(
    p_floor timestamptz,
    p_revision bigint,
    p_commit_id text,
    p_group json, -- a row of runner_group
    p_touched text[], -- all runners that what follows is about
    p_runners json, -- rows of runner
    p_deleted text[],
    p_granted text[],
    p_roused text[],
    p_ended_terms json, -- [{epoch, handed_back}]
    p_ended_sessions json, -- rows of ended_session
    p_term_leases json, -- [{runner_id, session_id, expires_at}]
    p_live json, -- [{runner_id, session_id}]
    p_events json, -- rows of event
    OUT revision bigint,
    OUT at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_id text := p_group ->> 'id';
    v_old election.runner_group;
    v_new election.runner_group;
    v_found boolean;
    v_stirred bigint; -- the counts of all runners, and of those that go
    v_lost bigint;
    v_due text[]; -- who asked for a decision, at which count
    v_counts bigint[];
    v_revision bigint;
    v_at timestamptz;
BEGIN
    PERFORM election.writing(p_floor);
    PERFORM election.have_alone(v_id);
    SELECT * INTO v_old FROM election.runner_group WHERE id = v_id FOR NO KEY UPDATE;
    v_found := FOUND;
    IF v_found AND v_old.commit_id = p_commit_id THEN
        revision := v_old.commit_revision;
        at := v_old.commit_at;
        RETURN;
    END IF;

    IF cardinality(p_touched) > 0 THEN
        PERFORM 1 FROM election.runner WHERE id = ANY (p_touched) ORDER BY id FOR UPDATE;
    END IF;

    SELECT coalesce(sum(due_count), 0),
        coalesce(sum(due_count) FILTER (WHERE id = ANY (p_deleted)), 0),
        array_agg(id) FILTER (WHERE due_since IS NOT NULL),
        array_agg(due_count) FILTER (WHERE due_since IS NOT NULL)
    INTO v_stirred, v_lost, v_due, v_counts FROM election.runner WHERE group_id = v_id;
    v_revision := CASE WHEN v_found THEN v_old.revision + v_stirred ELSE 0 END;
    IF v_revision <> p_revision THEN
        RAISE EXCEPTION 'the group is at revision %', v_revision USING ERRCODE = 'EL409';
    END IF;
    -- What was decided about another history, by who read it elsewhere, knows a lower one.
    IF (p_group ->> 'epoch')::bigint
        < coalesce(v_old.epoch, (SELECT lost_epoch FROM election.meta))
    THEN
        RAISE EXCEPTION 'an epoch never falls' USING ERRCODE = 'EL409';
    END IF;
    IF json_array_length(p_term_leases) > 0 AND EXISTS (
        SELECT FROM json_to_recordset(p_term_leases)
            AS e(runner_id text, session_id text, expires_at timestamptz)
        LEFT JOIN election.runner AS r ON r.id = e.runner_id
        WHERE (r.session_id, r.term_expires_at) IS DISTINCT FROM (e.session_id, e.expires_at)
    ) THEN
        RAISE EXCEPTION 'the leader renewed its lease meanwhile' USING ERRCODE = 'EL409';
    END IF;

    -- Time is taken once all is locked that this waits for.
    v_at := election.time(p_floor);
    revision := v_revision + 1;
    at := v_at;

    IF cardinality(p_deleted) > 0 THEN
        UPDATE election.job SET -- those addressed to runners that go
            state = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'failed' END,
            finished_at = v_at,
            error = 'runner-deleted'
        WHERE runner_id = ANY (p_deleted) AND runner_id IS NOT NULL AND finished_at IS NULL;
        DELETE FROM election.runner WHERE id = ANY (p_deleted);
    END IF;

    -- Of a session that the row has already, what renewals own stays as it is; of what they asked
    -- for, all that this commit has seen is decided about now.
    INSERT INTO election.runner AS r (
        id, group_id, name, created_at, platform, labels, version, instance_key_hash, taints, drain,
        steady_since, opened, session_id, session_key, session_opened_at, lease_expires_at, ready,
        seq, healthy_since, held_epoch, term_expires_at, step_down_at, standing_version, due_count
    )
    SELECT
        id, group_id, name, created_at, platform, labels, version, instance_key_hash, taints, drain,
        steady_since, opened, session_id, session_key, session_opened_at, lease_expires_at, ready,
        seq, healthy_since, held_epoch, term_expires_at, step_down_at, standing_version, 0
    FROM json_populate_recordset(NULL::election.runner, p_runners)
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name,
        platform = excluded.platform,
        labels = excluded.labels,
        version = excluded.version,
        instance_key_hash = excluded.instance_key_hash,
        taints = excluded.taints,
        drain = excluded.drain,
        steady_since = excluded.steady_since,
        opened = excluded.opened,
        session_id = excluded.session_id,
        session_key = excluded.session_key,
        session_opened_at = excluded.session_opened_at,
        held_epoch = excluded.held_epoch,
        step_down_at = excluded.step_down_at,
        (lease_expires_at, ready, seq, healthy_since, term_expires_at, standing_version) = (
            SELECT
                CASE WHEN same THEN r.lease_expires_at ELSE excluded.lease_expires_at END,
                CASE WHEN same THEN r.ready ELSE excluded.ready END,
                CASE WHEN same THEN r.seq ELSE excluded.seq END,
                CASE WHEN same THEN r.healthy_since ELSE excluded.healthy_since END,
                CASE
                    WHEN NOT same THEN excluded.term_expires_at
                    WHEN excluded.held_epoch IS NOT NULL THEN r.term_expires_at
                END,
                CASE WHEN same THEN r.standing_version ELSE excluded.standing_version END
            FROM (SELECT coalesce(r.session_id = excluded.session_id, false)) AS s(same)
        );
    IF cardinality(p_granted || p_roused) > 0 THEN
        UPDATE election.runner SET
            term_expires_at = CASE
                WHEN id = ANY (p_granted) THEN lease_expires_at ELSE term_expires_at
            END,
            standing_version = standing_version + (id = ANY (p_roused))::integer
        WHERE id = ANY (p_granted || p_roused);
    END IF;

    -- A renewal that came after the sum above raised its row's count, and what it asks for stays.
    IF v_due IS NOT NULL THEN
        UPDATE election.runner AS r SET due_since = NULL
        FROM unnest(v_due, v_counts) AS seen(id, due_count)
        WHERE r.id = seen.id AND r.due_count = seen.due_count;
    END IF;

    v_new := json_populate_record(v_old, p_group);
    IF v_found THEN
        UPDATE election.runner_group SET
            revision = v_old.revision + 1 + v_lost,
            commit_id = p_commit_id,
            commit_revision = v_revision + 1,
            commit_at = v_at,
            settings = v_new.settings,
            lease = v_new.lease,
            heartbeat = v_new.heartbeat,
            retention = v_new.retention,
            retry_backoff = v_new.retry_backoff,
            created_at = v_new.created_at,
            epoch = v_new.epoch,
            term_epoch = v_new.term_epoch,
            term_runner_id = v_new.term_runner_id,
            term_session_id = v_new.term_session_id,
            term_elected_at = v_new.term_elected_at,
            term_kind = v_new.term_kind,
            term_reason = v_new.term_reason,
            ended = v_new.ended,
            ended_at = v_new.ended_at,
            pin = v_new.pin,
            handover = v_new.handover,
            grant_not_before = v_new.grant_not_before,
            decided_at = v_new.decided_at,
            look_again_at = v_new.look_again_at,
            deleted_at = v_new.deleted_at
        WHERE id = v_id;
    ELSE
        v_new.revision := 1;
        v_new.commit_id := p_commit_id;
        v_new.commit_revision := 1;
        v_new.commit_at := v_at;
        INSERT INTO election.runner_group SELECT v_new.*;
    END IF;

    IF json_array_length(p_ended_sessions) > 0 THEN
        INSERT INTO election.ended_session
            (session_id, runner_id, group_id, session_key, how, ended_at)
        SELECT session_id, runner_id, v_id, session_key, how, ended_at
        FROM json_populate_recordset(NULL::election.ended_session, p_ended_sessions)
        ON CONFLICT (session_id) DO NOTHING;
        DELETE FROM election.claim WHERE session_id IN (
            SELECT session_id FROM json_to_recordset(p_ended_sessions) AS e(session_id text)
        );
    END IF;
    IF json_array_length(p_ended_terms) + json_array_length(p_ended_sessions) > 0 THEN
        -- Running jobs go back: those under an ended epoch, and those addressed to an ended session.
        UPDATE election.job AS j SET
            attempts = attempts - handed_back::integer,
            state = CASE
                WHEN cancel_requested THEN 'cancelled'
                WHEN handed_back OR attempts < max_attempts THEN 'queued'
                ELSE 'failed'
            END,
            available_at = CASE
                WHEN NOT cancel_requested AND (handed_back OR attempts < max_attempts) THEN v_at
                ELSE available_at
            END,
            finished_at = CASE
                WHEN cancel_requested OR NOT (handed_back OR attempts < max_attempts) THEN v_at
            END,
            error = CASE
                WHEN cancel_requested OR handed_back OR attempts < max_attempts THEN error
                ELSE 'lost'
            END
        FROM (
            SELECT NULL AS session_id, epoch, handed_back
            FROM json_to_recordset(p_ended_terms) AS e(epoch bigint, handed_back boolean)
            UNION ALL
            SELECT session_id, NULL, how = 'left'
            FROM json_to_recordset(p_ended_sessions) AS e(session_id text, how text)
        ) AS ended
        WHERE group_id = v_id AND state = 'running' AND (
            claim_epoch = ended.epoch
            OR (claim_session_id = ended.session_id AND claim_epoch IS NULL)
        );
    END IF;

    IF v_new.deleted_at IS NOT NULL THEN
        DELETE FROM election.job WHERE group_id = v_id;
        DELETE FROM election.claim WHERE group_id = v_id;
        DELETE FROM election.token WHERE group_id = v_id;
    END IF;

    IF json_array_length(p_events) > 0 THEN
        PERFORM election.begin_events();
        INSERT INTO election.event
            (id, group_id, happened_at, kind, epoch, runner_id, reason, actor, details)
        SELECT nextval('election.event_id'), e.doc ->> 'group_id',
            (e.doc ->> 'happened_at')::timestamptz, e.doc ->> 'kind', (e.doc ->> 'epoch')::bigint,
            e.doc ->> 'runner_id', e.doc ->> 'reason', e.doc ->> 'actor', e.doc -> 'details'
        FROM json_array_elements(p_events) WITH ORDINALITY AS e(doc, place) ORDER BY e.place;
    END IF;

    -- Judged last: with the time of then, and what renewals left until then.
    IF json_array_length(p_live) > 0 AND EXISTS (
        SELECT FROM json_to_recordset(p_live) AS e(runner_id text, session_id text)
        LEFT JOIN election.runner AS r ON r.id = e.runner_id
        WHERE (r.session_id, r.ready) IS DISTINCT FROM (e.session_id, true)
            OR r.lease_expires_at <= election.time(p_floor)
    ) THEN
        RAISE EXCEPTION 'the elected runner is not live and ready any more'
            USING ERRCODE = 'EL409';
    END IF;
END $$;

-- Sessions with what their pulses tell.
CREATE VIEW election.pulse AS
SELECT
    r.id AS runner_id, r.session_id, r.group_id, r.lease_expires_at, r.held_epoch,
    r.term_expires_at, r.step_down_at, r.standing_version, g.epoch AS group_epoch, g.heartbeat,
    g.term_runner_id AS leader_runner_id, l.term_expires_at AS leader_expires_at,
    ARRAY(
        SELECT j.id FROM election.job AS j
        WHERE j.claim_session_id = r.session_id AND j.state = 'running' AND j.cancel_requested
        ORDER BY j.seq
    ) AS cancel
FROM election.runner AS r
JOIN election.runner_group AS g ON g.id = r.group_id
LEFT JOIN election.runner AS l ON l.id = g.term_runner_id
WHERE r.session_id IS NOT NULL;

-- Renews sessions. Answers those that are current and whose rows nobody has locked; `current` says
-- of the others whether they were only locked.
CREATE FUNCTION election.beat(
    p_floor timestamptz, p_runner_ids text[], p_session_ids text[], p_seqs bigint[], p_readies boolean[]
) RETURNS TABLE (
    place bigint, at timestamptz, margin interval, due boolean, session_id text, group_id text,
    lease_expires_at timestamptz, held_epoch bigint, term_expires_at timestamptz,
    step_down_at timestamptz, standing_version bigint, group_epoch bigint, heartbeat interval,
    leader_runner_id text, leader_expires_at timestamptz, cancel text[]
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz := election.writing(p_floor);
    v_places bigint[];
    v_runners text[];
    v_margins interval[];
    v_dues boolean[];
BEGIN
    -- What decides is read from the rows that are locked and written, not from joined ones.
    WITH locked AS (
        SELECT a.place, a.seq AS asked_seq, a.ready AS asked_ready,
            r.id, r.group_id, r.lease_expires_at, r.ready, r.seq, r.step_down_at
        FROM unnest(p_runner_ids, p_session_ids, p_seqs, p_readies)
            WITH ORDINALITY AS a(runner_id, session_id, seq, ready, place)
        JOIN election.runner AS r ON r.id = a.runner_id
        WHERE r.session_id = a.session_id
        ORDER BY r.id FOR NO KEY UPDATE OF r SKIP LOCKED
    ), judged AS (
        SELECT l.*, g.lease, coalesce(l.asked_ready, l.ready) AS new_ready,
            l.lease_expires_at <= v_at AS revived,
            l.asked_seq IS NULL OR l.asked_seq >= l.seq AS counts
        FROM locked AS l JOIN election.runner_group AS g ON g.id = l.group_id
    ), renewed AS (
        UPDATE election.runner AS r SET
            lease_expires_at = greatest(r.lease_expires_at, v_at + j.lease),
            term_expires_at = CASE
                WHEN r.term_expires_at IS NOT NULL
                    AND (r.step_down_at IS NULL OR v_at < r.step_down_at)
                THEN greatest(r.term_expires_at, v_at + j.lease)
                ELSE r.term_expires_at
            END,
            ready = j.new_ready,
            seq = coalesce(j.asked_seq, r.seq),
            healthy_since = CASE
                WHEN j.revived OR (j.new_ready AND NOT r.ready) THEN v_at ELSE r.healthy_since
            END,
            due_count = r.due_count + (j.revived OR j.new_ready <> r.ready)::integer,
            due_since = CASE
                WHEN j.revived OR j.new_ready <> r.ready THEN v_at ELSE r.due_since
            END
        FROM judged AS j WHERE r.id = j.id AND j.counts
    )
    SELECT array_agg(j.place), array_agg(j.id), array_agg(j.lease_expires_at - v_at),
        array_agg(j.counts AND (j.revived OR j.new_ready <> j.ready))
    INTO v_places, v_runners, v_margins, v_dues FROM judged AS j;

    RETURN QUERY
    SELECT a.place, v_at, a.margin, a.due, p.session_id, p.group_id, p.lease_expires_at,
        p.held_epoch, p.term_expires_at, p.step_down_at, p.standing_version, p.group_epoch,
        p.heartbeat, p.leader_runner_id, p.leader_expires_at, p.cancel
    FROM unnest(v_places, v_runners, v_margins, v_dues) AS a(place, runner_id, margin, due)
    JOIN election.pulse AS p ON p.runner_id = a.runner_id;
END $$;

-- The groups to decide now; with p_hold nobody else is told of them for that long, or until their
-- revisions rise. next_at is that of the groups that are not due.
CREATE FUNCTION election.due(
    p_floor timestamptz, p_limit integer, p_hold interval,
    OUT group_ids text[], OUT next_at timestamptz, OUT at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_all text[];
    v_held timestamptz;
    v_term timestamptz;
    v_expired text[];
BEGIN
    at := election.now(p_floor);
    IF p_limit = 0 THEN
        group_ids := '{}';
        RETURN;
    END IF;
    -- The leases of leaders are in no index: all are looked at, in one pass.
    SELECT min(term_expires_at) FILTER (WHERE term_expires_at > at),
        array_agg(id) FILTER (WHERE term_expires_at <= at)
    INTO v_term, v_expired FROM election.runner WHERE held_epoch IS NOT NULL;

    WITH wanted AS (
        SELECT g.id, g.look_again_at AS since FROM election.runner_group AS g
        WHERE g.look_again_at <= at
        UNION ALL
        SELECT r.group_id, r.due_since FROM election.runner AS r WHERE r.due_since <= at
        UNION ALL
        SELECT g.id, r.term_expires_at FROM election.runner AS r
        JOIN election.runner_group AS g ON g.id = r.group_id AND g.term_runner_id = r.id
        WHERE r.id = ANY (v_expired)
            AND (g.decided_at IS NULL OR g.decided_at < r.term_expires_at)
    ), ranked AS (
        SELECT w.id, min(w.since) AS since, min(u.held_until) FILTER (
            WHERE CASE WHEN u.held_until > at
                THEN u.held_revision = g.revision + (SELECT due_count FROM election.stirred(g.id))
            END
        ) AS held_until
        FROM wanted AS w JOIN election.runner_group AS g ON g.id = w.id
        LEFT JOIN election.upkeep AS u ON u.group_id = w.id GROUP BY w.id
    )
    SELECT array_agg(id),
        (array_agg(id ORDER BY since, id) FILTER (WHERE held_until IS NULL))[:p_limit],
        min(held_until)
    INTO v_all, group_ids, v_held FROM ranked;

    IF p_hold > interval '0' AND group_ids IS NOT NULL THEN
        PERFORM election.writing(p_floor);
        -- Two that ask at once wait for each other here, in one order, and share what there is.
        WITH held AS (
            INSERT INTO election.upkeep AS u (group_id, held_until, held_revision)
            SELECT g.id, at + p_hold,
                g.revision + (SELECT due_count FROM election.stirred(g.id))
            FROM election.runner_group AS g WHERE g.id = ANY (group_ids) ORDER BY g.id
            ON CONFLICT (group_id) DO UPDATE SET
                held_until = excluded.held_until, held_revision = excluded.held_revision
            WHERE u.held_until IS NULL OR u.held_until <= at
                OR u.held_revision <> excluded.held_revision
            RETURNING u.group_id
        )
        SELECT array_agg(asked.id ORDER BY asked.place) INTO group_ids
        FROM unnest(group_ids) WITH ORDINALITY AS asked(id, place)
        WHERE (asked.id IN (SELECT group_id FROM held)) IS TRUE; -- hashed, where a join is nested
    END IF;

    IF v_all IS NULL THEN
        SELECT least(v_term, min(g.look_again_at)) INTO next_at
        FROM election.runner_group AS g WHERE g.look_again_at > at;
    ELSE
        SELECT least(
            v_held,
            (
                SELECT min(g.look_again_at) FROM election.runner_group AS g
                WHERE g.look_again_at > at AND (g.id IN (SELECT unnest(v_all))) IS NOT TRUE
            ),
            (
                SELECT min(r.term_expires_at) FROM election.runner AS r
                WHERE r.held_epoch IS NOT NULL AND r.term_expires_at > at
                    AND (r.group_id IN (SELECT unnest(v_all))) IS NOT TRUE
            )
        ) INTO next_at;
    END IF;
    group_ids := coalesce(group_ids, '{}');
END $$;

-- Replaces the mark if it is still the one that was read; and keeps the store's time going on.
CREATE FUNCTION election.mark(
    p_known timestamptz, p_at timestamptz, p_tick interval, p_outages json
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM election.writing(p_at);
    UPDATE election.meta SET
        clock_offset = greatest(
            clock_offset, make_interval(secs => extract(epoch FROM p_at - election.clock()))
        ),
        mark_at = p_at,
        mark_tick = p_tick,
        outages = p_outages
    WHERE mark_at IS NOT DISTINCT FROM p_known;
    RETURN FOUND;
END $$;

CREATE FUNCTION election.events(
    p_floor timestamptz, p_group text, p_after bigint, p_limit integer
) RETURNS SETOF election.event LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_settled bigint;
    v_pruned bigint;
BEGIN
    PERFORM election.now(p_floor);
    v_settled := election.events_settled();
    RETURN QUERY SELECT * FROM election.event AS e
    WHERE e.id > coalesce(p_after, 0) AND e.id <= v_settled
        AND (p_group IS NULL OR e.group_id = p_group)
    ORDER BY e.id LIMIT p_limit;
    -- Asked last, or what is pruned meanwhile would be missed without a word.
    IF p_group IS NULL THEN
        SELECT events_pruned INTO v_pruned FROM election.meta;
    ELSE
        SELECT events_pruned INTO v_pruned FROM election.upkeep WHERE group_id = p_group;
    END IF;
    IF p_after < v_pruned THEN
        RAISE EXCEPTION 'events behind this one have been pruned' USING ERRCODE = 'EL410';
    END IF;
END $$;

-- Whether an epoch still leads, for a transaction of the caller's own.
CREATE FUNCTION election.fence(
    p_group text, p_epoch bigint,
    OUT known boolean, OUT at timestamptz, OUT epoch bigint, OUT term_epoch bigint,
    OUT term_expires_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_runner text;
    v_session text;
    v_idle interval;
BEGIN
    PERFORM election.writing(NULL);
    PERFORM election.share(p_group);
    SELECT true, g.epoch, g.term_epoch, g.term_runner_id, g.term_session_id
    INTO known, epoch, term_epoch, v_runner, v_session
    FROM election.runner_group AS g WHERE g.id = p_group FOR SHARE;
    SELECT r.term_expires_at INTO term_expires_at
    FROM election.runner AS r WHERE r.id = v_runner AND r.session_id = v_session;
    at := election.time(NULL);
    IF term_epoch = p_epoch AND term_expires_at > at THEN
        -- A caller that stops here for longer than it leads must not keep others from leading. It may
        -- have asked for less, or hold another group for less.
        v_idle := greatest(interval '1 ms', least(
            term_expires_at - at,
            nullif(current_setting('idle_in_transaction_session_timeout')::interval, interval '0')
        ));
        PERFORM set_config(
            'idle_in_transaction_session_timeout',
            ceil(extract(epoch FROM v_idle) * 1000)::bigint::text,
            true
        );
    END IF;
END $$;
