"""The way in for users of existing installations, and the way out."""
