"""Everything at once, seeded: many tasks, and faults of every kind until they are done."""
