"""How uvicorn speaks HTTP behind the proxy."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ProxiedProtocol(HttpToolsProtocol):
    """One request per connection, which the proxy sends at once."""

    def shutdown(self) -> None:
        """End the connection after its answer; one whose request was not read yet is served too.

        uvicorn closes such a connection, and the proxy could not know whether it may ask again.
        """
        if self.cycle is not None:
            super().shutdown()
