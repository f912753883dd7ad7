-- Names whose addresses nobody may pass in clear.
ALTER TABLE policy ADD COLUMN must_protect_names TEXT NOT NULL DEFAULT '[]';
