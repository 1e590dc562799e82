"""What a server says of its recovery."""

from autobot_backup import server_log


def test_the_reason_is_the_servers_own_and_not_a_clients() -> None:
    log = (
        "2026-01-31 12:00:00 UTC [7] FATAL:  recovery ended before configured recovery target"
        " was reached\n"
        "2026-01-31 12:00:00 UTC [9] postgres@postgres [local] FATAL:  the database system is"
        " starting up\n"
    )
    expected = "recovery ended before configured recovery target was reached"
    assert server_log.failure(log) == expected
    assert server_log.failure(f"FATAL:  {expected}\n") == expected
    assert server_log.failure("LOG:  a\nLOG:  b\n") == "LOG:  a LOG:  b"


def test_the_last_transaction_is_the_last_one() -> None:
    log = (
        "LOG:  last completed transaction was at log time 2026-01-31 12:00:00+00\n"
        "LOG:  last completed transaction was at log time 2026-01-31 12:00:01+00\n"
    )
    assert server_log.last_transaction(log) == "2026-01-31 12:00:01+00"
    assert server_log.last_transaction("") == ""
