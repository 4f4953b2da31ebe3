-- compatible-from: 1
-- Claims and settlements are allowed here, quickly. What is not allowed is left to the caller, who
-- reads what there is and has the core's rules say what the refusal is.

CREATE FUNCTION election.enqueue(
    p_floor timestamptz, p_group text, p_id text, p_runner_id text, p_kind text, p_payload text,
    p_priority bigint, p_max_attempts bigint, p_key text, p_fingerprint text
) RETURNS TABLE (refused text, created boolean, job_id text, at timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    created := false;
    PERFORM election.writing(p_floor);
    PERFORM election.share(p_group);
    IF NOT EXISTS (
        SELECT FROM election.runner_group AS g WHERE g.id = p_group AND g.deleted_at IS NULL
    ) THEN
        refused := 'group';
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_key IS NOT NULL THEN
        SELECT j.id INTO job_id FROM election.job AS j
        WHERE j.group_id = p_group AND j.idempotency_key = p_key;
        IF FOUND THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF p_runner_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM election.runner AS r WHERE r.id = p_runner_id AND r.group_id = p_group
    ) THEN
        refused := 'runner';
        RETURN NEXT;
        RETURN;
    END IF;
    at := election.time(p_floor);
    INSERT INTO election.job (
        id, group_id, runner_id, kind, payload, priority, max_attempts, created_at, state, attempts,
        available_at, cancel_requested, result, idempotency_key, fingerprint
    ) VALUES (
        p_id, p_group, p_runner_id, p_kind, p_payload, p_priority, p_max_attempts, at, 'queued', 0,
        at, false, 'null', p_key, p_fingerprint
    ) ON CONFLICT (group_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING;
    created := FOUND;
    job_id := p_id;
    IF NOT created THEN -- the same call came twice at once
        SELECT j.id INTO job_id FROM election.job AS j
        WHERE j.group_id = p_group AND j.idempotency_key = p_key;
    END IF;
    RETURN NEXT;
END $$;

-- Whether a session may act now: under an epoch while it holds that and the term's lease lasts, without
-- one while its own does. The rest are columns of its runner.
CREATE FUNCTION election.live(
    p_epoch bigint, p_held_epoch bigint, p_term_expires_at timestamptz,
    p_lease_expires_at timestamptz, p_at timestamptz
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_epoch IS NULL THEN p_lease_expires_at > p_at
        ELSE p_held_epoch = p_epoch AND p_term_expires_at > p_at
    END
$$;

-- Claims jobs. `verdict` is claimed (one row for each job), none (one row), known (this claim_id was
-- answered before) or refused.
CREATE FUNCTION election.claim(
    p_floor timestamptz, p_runner_id text, p_session_id text, p_claim_id text, p_epoch bigint,
    p_limit integer, p_tokens text[]
) RETURNS TABLE (
    seq bigint, id text, group_id text, runner_id text, kind text, payload text, priority bigint,
    max_attempts bigint, created_at timestamptz, state text, attempts bigint,
    available_at timestamptz, started_at timestamptz, finished_at timestamptz, claimed_by text,
    epoch bigint, cancel_requested boolean, result text, error text, claim_token text,
    verdict text, at timestamptz, next_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_group text;
    v_at timestamptz;
    v_current boolean;
    v_allowed boolean;
    v_addressed boolean;
    v_rows tid[];
    v_seqs bigint[];
    v_attempts bigint[];
    v_available_ats timestamptz[];
    v_errors text[];
BEGIN
    SELECT r.group_id, election.share(r.group_id) INTO v_group
    FROM election.runner AS r WHERE r.id = p_runner_id;
    -- Under the lock no session and no term ends; leases only grow. The row of a term's runner has
    -- all that a claim depends on.
    v_at := election.writing(p_floor);
    at := v_at;
    SELECT election.live(p_epoch, r.held_epoch, r.term_expires_at, r.lease_expires_at, v_at)
        AND (p_epoch IS NULL OR r.step_down_at IS NULL)
    INTO v_allowed
    FROM election.runner AS r WHERE r.id = p_runner_id AND r.session_id = p_session_id;
    v_current := FOUND;

    IF v_allowed THEN
        SELECT array_agg(p.row), array_agg(p.seq), array_agg(p.attempts + 1),
            array_agg(p.available_at), array_agg(p.error), EXISTS (
                SELECT FROM election.job AS j
                WHERE j.runner_id = p_runner_id AND j.runner_id IS NOT NULL AND j.state = 'queued'
            )
        INTO v_rows, v_seqs, v_attempts, v_available_ats, v_errors, v_addressed
        FROM (
            SELECT j.ctid AS row, j.seq, j.attempts, j.available_at, j.error
            FROM election.job AS j
            WHERE p_epoch IS NOT NULL AND j.group_id = v_group AND j.runner_id IS NULL
                AND j.state = 'queued' AND j.available_at <= v_at
            ORDER BY j.priority DESC, j.seq LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
        ) AS p;
        IF v_addressed THEN -- the first of those and of the runner's own
            SELECT array_agg(p.row), array_agg(p.seq), array_agg(p.attempts + 1),
                array_agg(p.available_at), array_agg(p.error)
            INTO v_rows, v_seqs, v_attempts, v_available_ats, v_errors
            FROM (
                SELECT * FROM (
                    SELECT j.ctid AS row, j.priority, j.seq, j.attempts, j.available_at, j.error
                    FROM election.job AS j WHERE j.ctid = ANY (v_rows)
                    UNION ALL SELECT * FROM (
                        SELECT j.ctid, j.priority, j.seq, j.attempts, j.available_at, j.error
                        FROM election.job AS j
                        WHERE j.runner_id = p_runner_id AND j.runner_id IS NOT NULL
                            AND j.state = 'queued' AND j.available_at <= v_at
                        ORDER BY j.priority DESC, j.seq LIMIT p_limit
                        FOR NO KEY UPDATE SKIP LOCKED
                    ) AS addressed
                ) AS either ORDER BY priority DESC, seq LIMIT p_limit
            ) AS p;
        END IF;
    END IF;
    IF v_rows IS NOT NULL THEN
        INSERT INTO election.claim (
            session_id, claim_id, group_id, claimed_at, epoch, seqs, tokens, attempts,
            available_ats, errors
        ) VALUES (
            p_session_id, p_claim_id, v_group, v_at, p_epoch, v_seqs,
            p_tokens[:cardinality(v_seqs)], v_attempts, v_available_ats, v_errors
        ) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            -- The rows are locked, so they are where they were found; and they come in that order.
            RETURN QUERY
            UPDATE election.job AS j SET
                state = 'running',
                attempts = j.attempts + 1,
                started_at = v_at,
                claimed_by = p_runner_id,
                epoch = CASE WHEN j.runner_id IS NULL THEN p_epoch END,
                claim_token = a.token,
                claim_id = p_claim_id,
                claim_runner_id = p_runner_id,
                claim_session_id = p_session_id,
                claim_epoch = CASE WHEN j.runner_id IS NULL THEN p_epoch END
            FROM unnest(v_rows, p_tokens) AS a(row, token)
            WHERE j.ctid = a.row
            RETURNING
                j.seq, j.id, j.group_id, j.runner_id, j.kind, j.payload, j.priority,
                j.max_attempts, j.created_at, j.state, j.attempts,
                j.available_at, j.started_at, j.finished_at, j.claimed_by,
                j.epoch, j.cancel_requested, j.result, j.error, j.claim_token,
                'claimed', v_at, NULL::timestamptz;
            RETURN;
        END IF;
    END IF;

    IF v_current AND EXISTS (
        SELECT FROM election.claim AS c
        WHERE c.session_id = p_session_id AND c.claim_id = p_claim_id
    ) THEN
        verdict := 'known';
    ELSIF v_allowed THEN
        verdict := 'none';
        next_at := (
            SELECT min(soonest) FROM (
                SELECT min(j.available_at) AS soonest FROM election.job AS j
                WHERE p_epoch IS NOT NULL AND j.group_id = v_group AND j.runner_id IS NULL
                    AND j.state = 'queued'
                UNION ALL SELECT min(j.available_at) FROM election.job AS j
                WHERE j.runner_id = p_runner_id AND j.runner_id IS NOT NULL AND j.state = 'queued'
            ) AS s
        );
    ELSE
        verdict := 'refused';
    END IF;
    RETURN NEXT;
END $$;

-- The wait after that many attempts: the group's backoff, doubling, at most 300 seconds.
CREATE FUNCTION election.retry_after(p_attempts bigint, p_backoff interval) RETURNS interval
LANGUAGE sql IMMUTABLE AS $$
    SELECT least(interval '300 seconds', p_backoff * 2 ^ least(greatest(p_attempts - 1, 0), 30))
$$;

-- Settles the claims that stand; what it does not answer is left to the caller.
CREATE FUNCTION election.settle(
    p_floor timestamptz, p_ids text[], p_tokens text[], p_outcomes text[], p_results text[],
    p_errors text[], p_retries boolean[]
) RETURNS TABLE (
    seq bigint, id text, group_id text, runner_id text, kind text, payload text, priority bigint,
    max_attempts bigint, created_at timestamptz, state text, attempts bigint,
    available_at timestamptz, started_at timestamptz, finished_at timestamptz, claimed_by text,
    epoch bigint, cancel_requested boolean, result text, error text
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz;
    v_rows tid[];
    v_groups integer[];
    v_group integer;
BEGIN
    SELECT array_agg(j.ctid ORDER BY a.place), array_agg(DISTINCT hashtext(j.group_id))
    INTO v_rows, v_groups
    FROM unnest(p_ids) WITH ORDINALITY AS a(id, place) LEFT JOIN election.job AS j ON j.id = a.id;
    -- All groups in one order, so that two settlements cannot wait for each other.
    FOREACH v_group IN ARRAY v_groups LOOP
        PERFORM pg_advisory_xact_lock_shared(1164731252, v_group);
    END LOOP;
    -- Under the locks no session and no term ends; leases only grow.
    v_at := election.writing(p_floor);
    -- Successes by themselves: they are most, and need no rules. A row that changed since it was
    -- found is not found again, and left to the caller too. The state is asked in a way that keeps
    -- the planner off the index of running jobs.
    RETURN QUERY
    UPDATE election.job AS j SET
        state = 'succeeded',
        finished_at = v_at,
        result = a.result,
        error = NULL,
        settled_token = a.token,
        settled_outcome = a.outcome
    FROM unnest(v_rows, p_tokens, p_outcomes, p_results) AS a(row, token, outcome, result),
        election.runner AS r
    WHERE a.outcome = 'succeeded' AND j.ctid = a.row AND j.claim_token = a.token
        AND coalesce(j.state, '') = 'running'
        AND r.id = j.claim_runner_id AND r.session_id = j.claim_session_id
        AND election.live(j.claim_epoch, r.held_epoch, r.term_expires_at, r.lease_expires_at, v_at)
    RETURNING
        j.seq, j.id, j.group_id, j.runner_id, j.kind, j.payload, j.priority,
        j.max_attempts, j.created_at, j.state, j.attempts,
        j.available_at, j.started_at, j.finished_at, j.claimed_by,
        j.epoch, j.cancel_requested, j.result, j.error;
    IF 'succeeded' = ALL (p_outcomes) THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE election.job AS j SET
        attempts = j.attempts - (a.outcome = 'released')::integer,
        state = CASE
            WHEN j.cancel_requested THEN 'cancelled'
            WHEN a.outcome = 'released' OR (a.retry AND j.attempts < j.max_attempts) THEN 'queued'
            ELSE 'failed'
        END,
        available_at = CASE
            WHEN j.cancel_requested THEN j.available_at
            WHEN a.outcome = 'released' THEN v_at
            WHEN a.retry AND j.attempts < j.max_attempts
            THEN v_at + election.retry_after(j.attempts, g.retry_backoff)
            ELSE j.available_at
        END,
        finished_at = CASE
            WHEN j.cancel_requested THEN v_at
            WHEN a.outcome = 'released' OR (a.retry AND j.attempts < j.max_attempts) THEN NULL
            ELSE v_at
        END,
        result = CASE
            WHEN a.outcome = 'failed' AND NOT (a.retry AND j.attempts < j.max_attempts)
            THEN a.result
            ELSE j.result
        END,
        error = CASE WHEN a.outcome = 'failed' THEN a.error ELSE j.error END,
        settled_token = a.token,
        settled_outcome = a.outcome
    FROM unnest(v_rows, p_tokens, p_outcomes, p_results, p_errors, p_retries)
            AS a(row, token, outcome, result, error, retry),
        election.runner AS r JOIN election.runner_group AS g ON g.id = r.group_id
    WHERE a.outcome <> 'succeeded' AND j.ctid = a.row AND j.claim_token = a.token
        AND coalesce(j.state, '') = 'running'
        AND r.id = j.claim_runner_id AND r.session_id = j.claim_session_id
        AND election.live(j.claim_epoch, r.held_epoch, r.term_expires_at, r.lease_expires_at, v_at)
    RETURNING
        j.seq, j.id, j.group_id, j.runner_id, j.kind, j.payload, j.priority,
        j.max_attempts, j.created_at, j.state, j.attempts,
        j.available_at, j.started_at, j.finished_at, j.claimed_by,
        j.epoch, j.cancel_requested, j.result, j.error;
END $$;

-- Cancels a job: at once if it is queued; a running one's holder is asked to stop.
CREATE FUNCTION election.cancel(p_floor timestamptz, p_id text) RETURNS SETOF election.job
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_at timestamptz;
    v_job election.job;
BEGIN
    PERFORM election.writing(p_floor);
    PERFORM election.share(j.group_id) FROM election.job AS j WHERE j.id = p_id;
    SELECT * INTO v_job FROM election.job AS j WHERE j.id = p_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_at := election.time(p_floor);
    IF v_job.state = 'running' AND NOT v_job.cancel_requested THEN
        UPDATE election.runner AS r SET standing_version = standing_version + 1
        WHERE r.id = v_job.claim_runner_id AND r.session_id = v_job.claim_session_id;
    END IF;
    RETURN QUERY
    UPDATE election.job AS j SET
        cancel_requested = j.cancel_requested OR j.state IN ('queued', 'running'),
        finished_at = CASE WHEN j.state = 'queued' THEN v_at ELSE j.finished_at END,
        state = CASE WHEN j.state = 'queued' THEN 'cancelled' ELSE j.state END
    WHERE j.id = p_id RETURNING j.*;
END $$;
