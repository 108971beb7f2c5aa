"""Ports in memory: they obey the contract suites, and ship so that users test with what the project tests with."""
