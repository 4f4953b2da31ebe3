-- A store that lost its newest commits may have lost whole groups, which come back by their names.
ALTER TABLE election_meta ADD COLUMN lost_epoch INTEGER NOT NULL DEFAULT 0; -- no lost group had a higher one
ALTER TABLE election_meta ADD COLUMN lost_until INTEGER; -- when the leases of lost groups are over
