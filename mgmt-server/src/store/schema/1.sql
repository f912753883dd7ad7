-- One domain per file. Times are Unix seconds, public keys and numbers are blobs, sets are JSON.
CREATE TABLE domain (
    only           INTEGER PRIMARY KEY CHECK (only = 1),
    id             BLOB NOT NULL,
    root_key       BLOB NOT NULL,
    listen         TEXT NOT NULL,
    advertise      TEXT NOT NULL,
    bound          TEXT
) STRICT;

-- Apart from the domain, because it changes with everything.
CREATE TABLE policy (
    only           INTEGER PRIMARY KEY CHECK (only = 1),
    version        INTEGER NOT NULL,
    search_scope   TEXT NOT NULL
) STRICT;
INSERT INTO policy VALUES (1, 0, '[]');

CREATE TABLE issuers (
    key            BLOB PRIMARY KEY,
    seed           BLOB NOT NULL,
    not_before     INTEGER NOT NULL,
    not_after      INTEGER NOT NULL,
    signature      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    priority       INTEGER NOT NULL,
    commit_key     BLOB NOT NULL
) STRICT;

-- Scope 0 is the domain's TK; any other is the group with that number.
CREATE TABLE epochs (
    scope          INTEGER NOT NULL,
    epoch          INTEGER NOT NULL,
    key            BLOB NOT NULL,
    not_before     INTEGER NOT NULL,
    not_after      INTEGER NOT NULL,
    PRIMARY KEY (scope, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id             BLOB PRIMARY KEY,
    secret_hash    BLOB NOT NULL,
    kind           TEXT NOT NULL,
    mode           TEXT NOT NULL,
    groups         TEXT NOT NULL,
    uses           INTEGER NOT NULL,
    uses_left      INTEGER NOT NULL CHECK (uses_left >= 0),
    created        INTEGER NOT NULL,
    expires        INTEGER NOT NULL,
    revoked        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    id             BLOB PRIMARY KEY,
    name           TEXT NOT NULL,
    kind           TEXT NOT NULL,
    mode           TEXT NOT NULL,
    identity_key   BLOB NOT NULL UNIQUE,
    noise_key      BLOB NOT NULL,
    aes            INTEGER NOT NULL,
    prefixes       TEXT NOT NULL,
    subnets        TEXT NOT NULL,
    groups         TEXT NOT NULL,
    token          BLOB NOT NULL,
    version        INTEGER NOT NULL DEFAULT 0,
    created        INTEGER NOT NULL,
    last_seen      INTEGER NOT NULL,
    removed        INTEGER,
    serial         BLOB NOT NULL,
    issued         INTEGER NOT NULL,
    expires        INTEGER NOT NULL,
    certificate    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX members_by_name ON members (name) WHERE removed IS NULL;

CREATE TABLE audit (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    time           INTEGER NOT NULL,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    before         TEXT NOT NULL,
    after          TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_append_only_1 BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_append_only_2 BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
