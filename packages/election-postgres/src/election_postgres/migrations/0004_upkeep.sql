-- compatible-from: 1

-- Deletes what is not kept any more, at most so many rows of each kind; one caller at a time.
CREATE FUNCTION election.prune(p_floor timestamptz, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_at timestamptz := election.writing(p_floor);
    v_rows bigint;
    v_deleted bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1164731248, 0) THEN
        RETURN 0;
    END IF;
    -- Group by group, so that each group's own retention is a range of an index.
    DELETE FROM election.job AS j USING (
        SELECT o.seq, o.group_id FROM election.runner_group AS g
        CROSS JOIN LATERAL (
            SELECT j.seq, j.group_id FROM election.job AS j
            WHERE j.group_id = g.id AND j.finished_at <= v_at - g.retention
            ORDER BY j.finished_at LIMIT p_limit
        ) AS o LIMIT p_limit
    ) AS old WHERE j.group_id = old.group_id AND j.seq = old.seq;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    DELETE FROM election.ended_session AS s USING (
        SELECT o.session_id FROM election.runner_group AS g
        CROSS JOIN LATERAL (
            SELECT s.session_id FROM election.ended_session AS s
            WHERE s.group_id = g.id AND s.ended_at <= v_at - g.retention
            ORDER BY s.ended_at LIMIT p_limit
        ) AS o LIMIT p_limit
    ) AS old WHERE s.session_id = old.session_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    -- What a claim was answered is kept as long as a job runs under it: the retry may come late.
    DELETE FROM election.claim AS c USING (
        SELECT o.session_id, o.claim_id FROM election.runner_group AS g
        CROSS JOIN LATERAL (
            SELECT c.session_id, c.claim_id FROM election.claim AS c
            WHERE c.group_id = g.id AND c.claimed_at <= v_at - g.retention AND NOT EXISTS (
                SELECT FROM election.job AS j
                WHERE j.group_id = g.id AND j.seq = ANY (c.seqs) AND j.state = 'running'
                    AND j.claim_token = ANY (c.tokens)
            )
            ORDER BY c.claimed_at LIMIT p_limit
        ) AS o LIMIT p_limit
    ) AS old WHERE c.session_id = old.session_id AND c.claim_id = old.claim_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    DELETE FROM election.token AS t USING (
        SELECT t.id FROM election.token AS t
        WHERE t.expires_at <= v_at - interval '24 hours' LIMIT p_limit
    ) AS old WHERE t.id = old.id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_deleted := v_deleted + v_rows;

    -- What is pruned is known before it is gone: a cursor before it is refused. Last, for it has the
    -- row of the mark until the end.
    WITH old AS (
        SELECT e.id, e.group_id FROM election.runner_group AS g
        CROSS JOIN LATERAL (
            SELECT e.id, e.group_id FROM election.event AS e
            WHERE e.group_id = g.id AND e.happened_at <= v_at - g.retention
            ORDER BY e.happened_at LIMIT p_limit
        ) AS e LIMIT p_limit
    ), gone AS (
        DELETE FROM election.event AS e USING old WHERE e.id = old.id
    ), highest AS (
        SELECT group_id, max(id) AS id FROM old GROUP BY group_id
    ), noted AS (
        INSERT INTO election.upkeep AS u (group_id, events_pruned)
        SELECT group_id, id FROM highest ORDER BY group_id
        ON CONFLICT (group_id) DO UPDATE SET
            events_pruned = greatest(u.events_pruned, excluded.events_pruned)
    ), noted_of_all AS (
        UPDATE election.meta SET events_pruned = greatest(events_pruned, (SELECT max(id) FROM old))
        WHERE EXISTS (SELECT FROM old)
    )
    SELECT count(*) INTO v_rows FROM old;
    RETURN v_deleted + v_rows;
END $$;

-- What a store that may have lost commits does before anything else: all terms end with their
-- claims, epochs jump ahead of any that may have been granted, and nobody is elected before the
-- longest lease is over. The same as election_core.reincarnate does to each group. Revisions, ids of
-- events and versions of standings jump as well: who saw those that were lost must not take new ones
-- for them.
-- Answers whether it was done; not if another was faster.
CREATE FUNCTION election.reincarnate(
    p_floor timestamptz, p_known text, p_lease interval, p_jump bigint, p_reason text
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_meta election.meta;
    v_history text := (SELECT election.history() FROM election.meta);
    v_at timestamptz;
    v_not_before timestamptz;
    v_lost_until timestamptz;
    v_jump bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    SELECT * INTO v_meta FROM election.meta FOR UPDATE;
    IF v_meta.history = v_history OR v_meta.history <> p_known THEN
        RETURN false;
    END IF;
    v_at := election.time(p_floor);
    -- One backup may be restored more than once. What was granted since then on another history is
    -- outrun if the jump grows with the time since.
    v_jump := p_jump * greatest(
        1,
        ceil(extract(epoch FROM v_at - coalesce(v_meta.mark_at, v_at)) / 60)::bigint
    );
    SELECT v_at + coalesce(max(lease), interval '0') INTO v_not_before
    FROM election.runner_group;
    SELECT greatest(v_not_before, max(lease_expires_at)) INTO v_not_before FROM election.runner;
    v_lost_until := greatest(v_not_before, v_at + p_lease);

    UPDATE election.job AS j SET
        state = CASE
            WHEN cancel_requested THEN 'cancelled'
            WHEN attempts < max_attempts THEN 'queued'
            ELSE 'failed'
        END,
        available_at = CASE
            WHEN NOT cancel_requested AND attempts < max_attempts THEN v_at ELSE available_at
        END,
        finished_at = CASE WHEN cancel_requested OR attempts >= max_attempts THEN v_at END,
        error = CASE WHEN cancel_requested OR attempts < max_attempts THEN error ELSE 'lost' END
    FROM election.runner_group AS g
    WHERE g.id = j.group_id AND j.state = 'running' AND j.claim_epoch = g.term_epoch;

    UPDATE election.runner_group AS g SET
        revision = g.revision + v_jump,
        commit_id = '',
        commit_revision = g.revision + v_jump
            + (SELECT s.due_count FROM election.stirred(g.id) AS s),
        commit_at = v_at,
        epoch = g.epoch + v_jump,
        ended = CASE WHEN g.term_epoch IS NULL THEN g.ended ELSE 'restored' END,
        ended_at = CASE
            WHEN g.term_epoch IS NULL THEN g.ended_at
            ELSE least(v_at, (
                SELECT r.term_expires_at FROM election.runner AS r
                WHERE r.id = g.term_runner_id AND r.session_id = g.term_session_id
            ))
        END,
        term_epoch = NULL,
        term_runner_id = NULL,
        term_session_id = NULL,
        term_elected_at = NULL,
        term_kind = NULL,
        term_reason = NULL,
        handover = CASE WHEN g.term_epoch IS NULL THEN g.handover END,
        grant_not_before = greatest(g.grant_not_before, v_not_before),
        look_again_at = CASE WHEN g.deleted_at IS NULL THEN v_at END;

    UPDATE election.runner SET
        standing_version = standing_version + v_jump + (held_epoch IS NOT NULL)::integer,
        held_epoch = NULL,
        term_expires_at = NULL,
        step_down_at = NULL,
        due_since = NULL
    WHERE session_id IS NOT NULL;

    PERFORM setval('election.event_id', election.last_event_id() + v_jump);
    PERFORM election.begin_events();
    INSERT INTO election.event
        (id, group_id, happened_at, kind, epoch, runner_id, reason, actor, details)
    SELECT nextval('election.event_id'), g.id, v_at, 'store-restored', g.epoch, NULL, p_reason,
        'store', '{}'
    FROM election.runner_group AS g ORDER BY g.id;

    UPDATE election.meta SET
        history = v_history,
        lost_epoch = lost_epoch + v_jump,
        lost_until = v_lost_until;
    RETURN true;
END $$;

CREATE FUNCTION election.add_token(
    p_floor timestamptz, p_id text, p_kind text, p_group text, p_runner text, p_digest bytea,
    p_ttl interval
) RETURNS TABLE (refused text, created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz;
BEGIN
    PERFORM election.writing(p_floor);
    IF p_group IS NOT NULL THEN
        PERFORM election.share(p_group);
        IF NOT EXISTS (
            SELECT FROM election.runner_group AS g WHERE g.id = p_group AND g.deleted_at IS NULL
        ) THEN
            refused := 'group';
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF p_runner IS NOT NULL AND NOT EXISTS (
        SELECT FROM election.runner AS r WHERE r.id = p_runner
    ) THEN
        refused := 'runner';
        RETURN NEXT;
        RETURN;
    END IF;
    v_at := election.time(p_floor);
    INSERT INTO election.token (id, kind, group_id, runner_id, digest, created_at, expires_at)
    SELECT p_id, p_kind, p_group, p_runner, p_digest, v_at, v_at + p_ttl
    WHERE NOT EXISTS ( -- repeated, because the answer was lost
        SELECT FROM election.token AS t WHERE t.id = p_id AND t.digest = p_digest
    );
    RETURN QUERY SELECT NULL::text, t.created_at, t.expires_at
    FROM election.token AS t WHERE t.id = p_id;
END $$;
