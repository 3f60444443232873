"""Who is next: fair between owners and priorities by estimated cost, with an eye to the models in memory."""

from tests.running.by_hand import asked


def order(b, count, *held):
    """The owners of the next computations, in the order of their taking."""
    taken = [b.take(*held) for _ in range(count)]
    jobs = {job.computation: job for owner in ("ada", "bob", "eve") for job in b.store.list(owner, limit=100).jobs}
    return [jobs[computation].owner for computation in taken]


def test_an_owner_with_many_jobs_does_not_hold_up_one_with_few(by_hand):
    b = by_hand()
    for _ in range(50):
        b.send_one("ada")
    b.send_one("bob")
    assert b.store.list("bob", limit=1).jobs[0].queue_position <= 1
    assert "bob" in order(b, 2)


def test_shares_are_equal_in_cost_not_in_jobs(by_hand):
    b = by_hand()
    for _ in range(60):
        b.send_one("ada", asked(cost=1))
    for _ in range(20):
        b.send_one("bob", asked(cost=3))
    first = order(b, 40)
    spent = {owner: first.count(owner) * cost for owner, cost in (("ada", 1), ("bob", 3))}
    assert abs(spent["ada"] - spent["bob"]) <= 3


def test_who_was_idle_has_saved_nothing_up(by_hand):
    b = by_hand()
    for _ in range(20):
        b.send_one("ada")
    order(b, 10)
    for _ in range(10):
        b.send_one("bob")
    assert 4 <= order(b, 10).count("bob") <= 6


def test_who_was_served_alone_owes_nothing(by_hand):
    b = by_hand()
    for _ in range(20):
        b.send_one("ada")
    order(b, 20)
    for owner in ("bob", "ada") * 10:
        b.send_one(owner)
    assert 4 <= order(b, 10).count("ada") <= 6


def test_bulk_work_is_never_starved(by_hand):
    b = by_hand()
    bulk = b.send_one("ada", asked(priority="bulk"))
    for _ in range(30):
        b.send_one("ada")
    taken = [b.take() for _ in range(10)]
    assert bulk.computation in taken
    assert bulk.computation != taken[0]


def test_a_worker_prefers_the_model_it_holds(by_hand):
    b = by_hand()
    first = b.send_one("ada", asked(model="a"))
    second = b.send_one("ada", asked(model="b"))
    assert b.take(("b", "float32")) == second.computation
    assert b.take(("b", "float32")) == first.computation


def test_the_first_in_line_is_overtaken_a_bounded_number_of_times(by_hand):
    b = by_hand()
    first = b.send_one("ada", asked(model="a"))
    for _ in range(40):
        b.send_one("ada", asked(model="b", cost=0.1))
    taken = [b.take(("b", "float32")) for _ in range(10)]
    assert taken.index(first.computation) == 8


def test_nothing_far_behind_overtakes(by_hand):
    b = by_hand()
    first = b.send_one("ada", asked(model="a", cost=100))
    b.send_one("ada", asked(model="b"))
    assert b.take(("b", "float32")) == first.computation
