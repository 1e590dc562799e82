"""The SLM server: the authority that manages both populations."""
