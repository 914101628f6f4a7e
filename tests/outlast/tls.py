"""TLS in front of a server without TLS, such as the Valkey of the wheel."""

import asyncio
import contextlib
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue

import trustme


def make_certificates(folder: Path, *, expired: bool = False) -> Path:
    """Fill a folder with a temporary authority, ca.pem, and its certificate for 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    certificate = authority.issue_cert("127.0.0.1", not_after=until)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return folder


def speak_tls(port: int, certificates: Path) -> int:
    """Return a port with TLS in front of the server at `port`, until the tests end."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    ports = Queue[int]()
    proxy = threading.Thread(target=asyncio.run, args=(serve(context, port, ports),), daemon=True)
    proxy.start()
    return ports.get(timeout=10)


async def serve(context: ssl.SSLContext, port: int, ports: "Queue[int]") -> None:
    """Pass on what comes in at a free port, which is put into `ports`."""

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    ports.put(proxy.sockets[0].getsockname()[1])
    await proxy.serve_forever()
