"""The AutoBot backend: lets application users in, and manages nobody."""
