-- What members are told of each other's groups.
ALTER TABLE policy ADD COLUMN explain TEXT NOT NULL DEFAULT 'shared';
