-- As in a registry's claims: NULL, or the greatest timestamp that was proven where `timestamp` was inferred.

ALTER TABLE claims ADD COLUMN proven BLOB CHECK (length(proven) = 12 AND proven <= timestamp);
