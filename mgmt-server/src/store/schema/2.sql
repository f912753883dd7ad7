-- Routers: what a closed one lets pass, what a token lets them stand for, and what nobody may pass
-- in clear.
ALTER TABLE members ADD COLUMN transit TEXT NOT NULL DEFAULT 'vouched';
ALTER TABLE tokens ADD COLUMN prefixes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE policy ADD COLUMN must_protect TEXT NOT NULL DEFAULT '[]';
