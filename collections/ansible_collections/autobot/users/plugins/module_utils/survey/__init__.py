"""What is on a host: each part reads one kind of thing and judges nothing."""
