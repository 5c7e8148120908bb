"""What a container's HEALTHCHECK runs: asks the agent's own `/health`; needs only the standard library."""

from __future__ import annotations

import http.client
import os
import sys

DEFAULT = "127.0.0.1:9464"
TIMEOUT_S = 4.0


def main(address: str) -> int:
    """0 where the agent at `address` (HOST:PORT) is alive, else 1 with the reason on stderr."""
    host, _, port = address.rpartition(":")
    local = "127.0.0.1" if host in ("", "0.0.0.0", "[::]") else host.strip("[]")  # noqa: S104 - not bound here
    connection = http.client.HTTPConnection(local, int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        body = answer.read(65536).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {address}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if answer.status != http.client.OK:
        print(body, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("ARCHON_HTTP") or DEFAULT))
