"""What Prometheus should know of a host, for a node exporter."""
