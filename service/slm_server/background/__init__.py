"""What the SLM server does in the background as long as it runs."""
