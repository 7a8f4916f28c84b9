-- The app's own. An address is kept as it is compared: in lower case.
CREATE TABLE users (
  id       TEXT PRIMARY KEY,
  email    TEXT NOT NULL UNIQUE,
  verified BOOLEAN NOT NULL DEFAULT FALSE, -- the user has shown that the address is theirs
  password TEXT NOT NULL DEFAULT ''        -- its hash
);

-- The newest link of each user for each purpose.
CREATE TABLE links (
  purpose TEXT NOT NULL,
  user    TEXT NOT NULL REFERENCES users (id),
  email   TEXT NOT NULL, -- where it was sent
  hash    TEXT NOT NULL, -- of the secret in the link
  expires INTEGER NOT NULL,
  PRIMARY KEY (purpose, user)
);
