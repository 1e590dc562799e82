"""User management for AutoBot: the domain, without a web framework."""
