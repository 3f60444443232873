"""A server of names, as an engine of containers has one: the addresses of a service change while others look at it."""

import socketserver
import struct
import threading
from contextlib import contextmanager

HEADER = struct.Struct("!HHHHHH")
ANSWERED = 0x8180  # an answer, recursion asked for and given
ADDRESS = struct.pack("!HH", 1, 1)  # type A, of the internet
NAME_OF_THE_QUESTION = 0xC000 | HEADER.size
RECORD = struct.Struct("!HHHIH4s")


def reply(query, addresses):
    """A reply (RFC 1035) that gives IPv4 addresses to a question for them, and to any other nothing."""
    number, *_ = HEADER.unpack_from(query)
    end = query.index(b"\0", HEADER.size) + 1 + len(ADDRESS)
    given = addresses if query[end - len(ADDRESS) : end] == ADDRESS else ()
    records = (RECORD.pack(NAME_OF_THE_QUESTION, 1, 1, 0, 4, bytes(map(int, each.split(".")))) for each in given)
    return HEADER.pack(number, ANSWERED, 1, len(given), 0, 0) + query[HEADER.size : end] + b"".join(records)


@contextmanager
def name_server(addresses):
    """Gives every name the addresses that a function returns when it is asked; its own address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            query, listener = self.request
            listener.sendto(reply(query, addresses()), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address)
        finally:
            server.shutdown()
            thread.join()
