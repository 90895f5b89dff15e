"""The storey that applications meet: errors leave it as exceptions, and only here."""
