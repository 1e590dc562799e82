"""Imports through the API: the upload, and the process that imports it."""
