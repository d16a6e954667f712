-- One row a leg pair: the caller's leg and the callee's leg of one call. Times are milliseconds since the Unix epoch,
-- UTC. A column is NULL when the thing did not happen or is not known.
CREATE TABLE cdr (
    call_id              TEXT PRIMARY KEY NOT NULL,
    node                 TEXT,
    started_at_ms        INTEGER,
    ringing_at_ms        INTEGER,
    answered_at_ms       INTEGER,
    ended_at_ms          INTEGER,
    request_uri          TEXT,
    status               INTEGER,
    q850                 INTEGER,
    cause                TEXT,
    released_by          TEXT,
    codec                TEXT,

    caller_user          TEXT,
    caller_sip_call_id   TEXT,
    caller_address       TEXT,
    caller_packets       INTEGER,
    caller_bytes         INTEGER,
    caller_lost          INTEGER,
    caller_jitter_us_max INTEGER,
    caller_mos_x100      INTEGER,

    callee_user          TEXT,
    callee_sip_call_id   TEXT,
    callee_address       TEXT,
    callee_packets       INTEGER,
    callee_bytes         INTEGER,
    callee_lost          INTEGER,
    callee_jitter_us_max INTEGER,
    callee_mos_x100      INTEGER
) STRICT;

-- Found at start: calls that a killed process left without an end.
CREATE INDEX cdr_open ON cdr (call_id) WHERE ended_at_ms IS NULL;

CREATE INDEX cdr_started ON cdr (started_at_ms);
