"""Where the domain meets the web framework: problems, the caller, ASGI middlewares."""
