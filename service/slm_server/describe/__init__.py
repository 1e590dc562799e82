"""What the API says of itself: its OpenAPI document, and who may call what."""
