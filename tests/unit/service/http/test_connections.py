"""Who gets a connection, and whose is closed for another's."""

import pytest

from service.process.connections import UNIX, Connections


class Made:
    """A connection, which notes that it had to make way."""

    def __init__(self, peer):
        self.peer, self.closed = peer, False

    def make_way(self):
        self.closed = True


def opened(connections, *peers, works=False):
    """One from each, and whether it was let in."""
    made = [Made(peer) for peer in peers]
    let_in = [connections.admit(one) for one in made]
    for one in made:
        (connections.works if works else connections.waits)(one)
    return made, let_in


def test_where_there_are_too_many_the_one_that_waits_longest_makes_way():
    connections = Connections(limit=3, client_limit=3)
    (first, second, third), _ = opened(connections, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    connections.waits(first)  # it said something, and waits anew
    opened(connections, "10.0.0.2")
    assert (first.closed, second.closed, third.closed) == (False, True, False)


def test_it_is_one_of_the_client_that_has_the_most():
    connections = Connections(limit=5, client_limit=5)
    (quiet,), _ = opened(connections, "10.0.0.1")
    flood, _ = opened(connections, *["10.0.0.2"] * 4)
    for peer in ("10.0.0.2", "10.0.0.3", "10.0.0.2", "10.0.0.4"):
        _, (let_in,) = opened(connections, peer)
        assert let_in
    assert not quiet.closed
    assert sum(one.closed for one in flood) >= 3


def test_nobody_makes_way_whose_request_is_under_way():
    connections = Connections(limit=2, client_limit=2)
    busy, _ = opened(connections, "10.0.0.1", "10.0.0.2", works=True)
    _, (let_in,) = opened(connections, "10.0.0.3")
    assert not let_in and not any(one.closed for one in busy)
    connections.gone(busy[0])
    assert opened(connections, "10.0.0.3")[1] == [True]


def test_a_client_makes_way_for_itself_alone():
    connections = Connections(limit=100, client_limit=2)
    (other,), _ = opened(connections, "10.0.0.9")
    opened(connections, *["10.0.0.1"] * 2, works=True)
    assert opened(connections, "10.0.0.1")[1] == [False]
    assert opened(connections, "10.0.0.2")[1] == [True]
    assert not other.closed


@pytest.mark.parametrize(
    "peers",
    [
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:9::"),
        ("10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"),
        (None, None, None),
    ],
)
def test_addresses_of_one_client_count_together(peers):
    connections = Connections(limit=100, client_limit=2)
    assert opened(connections, *peers, works=True)[1] == [True, True, False]


def test_a_proxy_speaks_for_many_clients_and_so_does_a_unix_socket():
    connections = Connections(limit=6, client_limit=1, proxies=["10.1.0.0/16", "fd00::7"])
    assert all(opened(connections, *["10.1.2.3"] * 2, *["fd00::7"] * 2, *[UNIX] * 2, works=True)[1])
    assert opened(connections, "10.1.2.3")[1] == [False]  # all there may be


def test_what_is_gone_is_forgotten():
    connections = Connections(limit=2, client_limit=2)
    for number in range(1000):
        (one,), (let_in,) = opened(connections, f"10.0.{number % 256}.{number // 256}")
        assert let_in
        connections.gone(one)
        connections.gone(one)
        connections.waits(one)  # too late to count
    assert not connections._waiting and not connections._counts and not connections._client_of
