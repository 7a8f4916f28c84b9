CREATE TABLE passkeys (
  id      BLOB PRIMARY KEY,
  user    TEXT NOT NULL,
  passkey TEXT NOT NULL,    -- a webauthn.Credential in JSON
  used    INTEGER NOT NULL  -- when the challenge of its last login was made, in microseconds
);
