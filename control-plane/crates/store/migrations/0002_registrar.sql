-- Who may register. The hashes are H(username:realm:password) in hexadecimal digits (RFC 7616 §3.4.2), NULL for an
-- algorithm that the user cannot use. They are as good as the password: keep the file to yourself.
CREATE TABLE subscriber (
    username    TEXT PRIMARY KEY NOT NULL,
    md5         TEXT,
    sha256      TEXT,
    sha512_256  TEXT
) STRICT;

-- One row a contact of an address-of-record, as it was when the last REGISTER for it was answered.
CREATE TABLE binding (
    id            INTEGER PRIMARY KEY NOT NULL,
    username      TEXT NOT NULL,
    contact       TEXT NOT NULL,
    call_id       TEXT NOT NULL,
    cseq          INTEGER NOT NULL,
    q_permille    INTEGER NOT NULL,
    reg_id        INTEGER NOT NULL,
    instance      TEXT NOT NULL,
    path          TEXT NOT NULL,
    transport     TEXT NOT NULL,
    remote        TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
