"""The ways in: each door hashes, stores and publishes, and knows its own rules. Importing does nothing."""
