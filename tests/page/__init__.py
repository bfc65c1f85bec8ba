"""The page in a real browser: a package, so that its browser and its server end after its last test."""
