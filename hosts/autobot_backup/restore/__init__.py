"""Restores of a whole cluster, or of one of its databases."""
