"""Where the domain meets the web framework: problems, the caller, what surrounds a request."""
