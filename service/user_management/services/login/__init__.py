"""Ways in: login, refresh, who is calling, logout, the password that one has."""
