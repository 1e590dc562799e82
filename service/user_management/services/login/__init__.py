"""Ways in, and what goes on from there.

Every way to log in proves who somebody is in a module of its own and passes one `gate`: limits
before, then the `account_status`, the `records` of it and the beginning of a session.
"""
