"""Passwords and tokens: rules without a database and without a web framework."""
