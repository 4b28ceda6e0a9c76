"""What station and worker remember of their tickets, without any connection."""

from cluster_tickets import finished, ticket

from spotlessd.cluster.station_book import StationBook, Withdrawn
from spotlessd.cluster.ticket_queue import Answered, Standing, Taken
from spotlessd.cluster.worker_book import Allowed, Errand, Revoked, Settled, WorkerBook


def asked(*numbers: int) -> StationBook:
    book = StationBook()
    for number in numbers:
        book.ask(ticket(number))
    book.asked(book.to_ask())
    return book


def answered(job: int) -> Answered:
    return Answered(ticket(job).key, 7, finished())


def test_an_asked_ticket_is_sent_once_and_again_over_a_new_connection() -> None:
    book = asked(1, 2)
    assert book.to_ask() == []

    book.ask_all_again()

    assert [ticket.key.job for ticket in book.to_ask()] == [1, 2]


def test_an_answered_ticket_is_not_asked_again() -> None:
    book = asked(1)
    book.answered([answered(1)])

    book.ask_all_again()

    assert book.to_ask() == []


def test_an_answer_is_told_once_until_it_is_acknowledged_and_after() -> None:
    book = asked(1)
    book.answered([answered(1)])
    book.answered([answered(1)])
    assert book.read() == [answered(1)]

    book.acknowledge(ticket(1).key)
    book.answered([answered(1)])

    assert book.read() == []
    assert book.to_acknowledge() == [ticket(1).key]


def test_the_answer_of_a_ticket_that_an_earlier_run_asked_is_told_once() -> None:
    book = StationBook()

    book.answered([answered(5)])
    book.answered([answered(5)])

    assert book.read() == [answered(5)]


def test_a_ticket_never_sent_is_withdrawn_at_once() -> None:
    book = StationBook()
    book.ask(ticket(1))

    book.withdraw(ticket(1).key)

    assert book.read() == [Withdrawn(ticket(1).key)]
    assert not book.has_errands


def test_a_ticket_whose_batch_has_no_known_outcome_is_withdrawn_by_postgresql_only() -> None:
    book = StationBook()
    book.ask(ticket(1))
    book.to_ask()  # and the connection broke

    book.withdraw(ticket(1).key)
    book.ask_all_again()

    assert book.read() == []
    assert book.to_ask() == []
    assert book.to_withdraw() == [ticket(1).key]
    book.withdrawn({ticket(1).key: True})
    assert book.read() == [Withdrawn(ticket(1).key)]


def test_a_withdrawal_that_comes_too_late_ends_with_the_answer_alone() -> None:
    book = asked(1)
    book.withdraw(ticket(1).key)

    book.withdrawn({ticket(1).key: False})
    book.answered([answered(1)])
    book.remind()

    assert book.read() == [answered(1)]
    assert book.to_withdraw() == []


def test_a_withdrawal_too_late_for_a_publication_is_tried_again() -> None:
    book = asked(1)
    book.withdraw(ticket(1).key)
    book.withdrawn({ticket(1).key: False})
    assert book.to_withdraw() == []

    book.remind()

    assert book.to_withdraw() == [ticket(1).key]


def test_a_ticket_asked_while_it_is_withdrawn_is_asked_afterwards() -> None:
    book = asked(1)
    book.withdraw(ticket(1).key)
    book.ask(ticket(1))
    assert book.to_ask() == []

    book.withdrawn({ticket(1).key: True})

    assert book.read() == [Withdrawn(ticket(1).key)]
    assert book.to_ask() == [ticket(1)]


def test_a_ticket_that_postgresql_has_lost_is_asked_again() -> None:
    book = asked(1, 2)

    book.stood([Standing(ticket(1).key, "asked", "", "", 0.0, 1.0)])

    assert [ticket.key.job for ticket in book.to_ask()] == [2]


def test_a_standing_is_told_when_it_changes_and_not_for_its_seconds() -> None:
    book = asked(1)
    key = ticket(1).key

    book.stood([Standing(key, "asked", "", "", 0.0, 1.0)])
    book.stood([Standing(key, "asked", "", "", 0.0, 2.0)])
    book.stood([Standing(key, "doing", "gpu1", "detect", 0.5, 3.0)])

    assert [news.state for news in book.read() if isinstance(news, Standing)] == ["asked", "doing"]


def taken(job: int, turn: int = 1, *, is_large: bool = False) -> Taken:
    return Taken(ticket(job, is_large=is_large), turn, job)


def hungry(number: int, large: int = 0) -> WorkerBook:
    book = WorkerBook()
    book.want(number, large=large)
    return book


def test_each_ticket_told_lowers_the_wish() -> None:
    book = hungry(2, large=1)

    book.took(taken(1, is_large=True))

    assert book.is_hungry
    assert not book.begin_look(), "the one large ticket was taken"
    book.took(taken(2))
    assert not book.is_hungry


def test_a_wish_said_before_the_news_were_read_counts_the_unread_tickets() -> None:
    book = hungry(1)
    book.took(taken(1))

    book.want(1, large=0)

    assert not book.is_hungry


def test_a_wish_that_grows_while_nothing_is_found_makes_another_look_due() -> None:
    book = hungry(1)
    book.begin_look()
    assert not book.is_look_due

    assert book.want(2, large=1)

    assert book.is_look_due
    book.begin_look()
    assert not book.want(2, large=1), "the same wish again"
    assert not book.is_look_due


def test_a_ticket_that_comes_after_the_wish_is_gone_goes_back_untold() -> None:
    book = hungry(1)
    book.want(0, large=0)

    book.took(taken(1))

    assert book.read() == []
    errand = book.next_errand()
    assert errand is not None and errand.taken == taken(1) and errand.answer is None and errand.is_last


def test_a_revoked_ticket_is_told_once_and_not_if_its_answer_is_under_way() -> None:
    book = hungry(2)
    book.took(taken(1))
    book.took(taken(2))
    book.read()
    book.add(Errand(taken(2), answer=finished()))

    book.revoked([taken(1), taken(2)])
    book.revoked([taken(1)])

    assert book.read() == [Revoked(taken(1))]


def test_an_answer_refused_at_its_first_try_is_void_and_one_repeated_is_not_called_so() -> None:
    book = hungry(2)
    for job in (1, 2):
        book.took(taken(job))
        book.add(Errand(taken(job), answer=finished()))
    book.read()

    first = book.next_errand()
    assert first is not None
    book.settled(first, is_done=False)
    book.next_errand()
    second = book.next_errand()
    assert second is not None
    book.settled(second, is_done=False)

    assert book.read() == [Settled(taken(1), is_void=True), Settled(taken(2), is_void=False)]
    assert book.held() == ([], {})


def test_a_plan_is_allowed_or_its_ticket_revoked_with_all_that_was_to_be_sent_of_it() -> None:
    book = hungry(2)
    for job in (1, 2):
        book.took(taken(job))
        book.add(Errand(taken(job), plan="names"))
    book.add(Errand(taken(2), plan="other names"))
    book.read()

    for is_done in (True, False):
        errand = book.next_errand()
        assert errand is not None
        book.settled(errand, is_done=is_done)

    assert book.read() == [Allowed(taken(1)), Revoked(taken(2))]
    assert not book.has_errands


def test_who_leaves_gives_back_what_has_no_answer() -> None:
    book = hungry(2)
    book.took(taken(1))
    book.took(taken(2))
    book.add(Errand(taken(1), answer=finished()))

    book.leave("the worker stopped")

    jobs = []
    while (errand := book.next_errand()) is not None:
        jobs.append((errand.taken.key.job, errand.answer is None, errand.reason))
        book.settled(errand, is_done=True)
    assert jobs == [(1, False, ""), (2, True, "the worker stopped")]
    assert not book.is_hungry
