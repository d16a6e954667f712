-- One row a leg pair: the caller's leg and the callee's leg of one call. Times are milliseconds since the Unix epoch,
-- UTC. A column is NULL when the thing did not happen or is not known.
CREATE TABLE cdr (
    call_id              TEXT PRIMARY KEY NOT NULL,
    node                 TEXT,
    started_at_ms        BIGINT,
    ringing_at_ms        BIGINT,
    answered_at_ms       BIGINT,
    ended_at_ms          BIGINT,
    request_uri          TEXT,
    status               BIGINT,
    q850                 BIGINT,
    cause                TEXT,
    released_by          TEXT,
    codec                TEXT,

    caller_user          TEXT,
    caller_sip_call_id   TEXT,
    caller_address       TEXT,
    caller_packets       BIGINT,
    caller_bytes         BIGINT,
    caller_lost          BIGINT,
    caller_jitter_us_max BIGINT,
    caller_mos_x100      BIGINT,

    callee_user          TEXT,
    callee_sip_call_id   TEXT,
    callee_address       TEXT,
    callee_packets       BIGINT,
    callee_bytes         BIGINT,
    callee_lost          BIGINT,
    callee_jitter_us_max BIGINT,
    callee_mos_x100      BIGINT
);

-- Found at start: calls that a killed process left without an end.
CREATE INDEX cdr_open ON cdr (call_id) WHERE ended_at_ms IS NULL;

CREATE INDEX cdr_started ON cdr (started_at_ms);
