-- Which sessions were begun by which session at the provider, for back-channel logout.
CREATE TABLE logins (
  provider_session TEXT NOT NULL,
  user             TEXT NOT NULL,
  session          TEXT PRIMARY KEY
);
