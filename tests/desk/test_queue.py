"""The queue: order, batches, room, failures, and stopping."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from concept_icd.desk.queue import Answers, BatchQueue, Closed, GivenUp, QueueFull


class Work:
    """Doubles numbers, as soon as it may; negative ones fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may, self.began = threading.Event(), threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.began.set()
        assert self.may.wait(10)
        self.batches.append(list(numbers))
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.may.set()


def begun(work: Work, room: int, together: int) -> tuple[BatchQueue[int, int], Answers[int]]:
    """A queue whose thread is busy with [0]."""
    queue = BatchQueue("test", work, room, together)
    queue.thread.start()
    first = queue.add([0])
    assert work.began.wait(10)
    return queue, first


def test_what_waits_is_taken_together_and_answered_apart(work: Work) -> None:
    queue, _ = begun(work, room=10, together=4)
    futures = [queue.add([1, 2]), queue.add([3]), queue.add([4, 5])]
    work.may.set()
    assert [future.result(10) for future in futures] == [[2, 4], [6], [8, 10]]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]
    queue.close()


def test_by_itself_where_told_so(work: Work) -> None:
    queue, _ = begun(work, room=10, together=1)
    futures = [queue.add([1, 2, 3]), queue.add([4])]
    work.may.set()
    assert [future.result(10) for future in futures] == [[2, 4, 6], [8]]
    assert work.batches == [[0], [1, 2, 3], [4]]
    queue.close()


def test_without_room_it_says_when_to_come_again(work: Work) -> None:
    queue, _ = begun(work, room=3, together=4)
    queue.add([1, 2])
    with pytest.raises(QueueFull) as full:
        queue.add([3, 4])
    assert full.value.retry_after >= 1
    assert queue.waiting == 2
    queue.add([3])
    work.may.set()
    queue.close()


def test_one_bad_thing_is_not_the_others_fault(work: Work) -> None:
    queue, _ = begun(work, room=10, together=4)
    futures = [queue.add([1]), queue.add([-1]), queue.add([2])]
    work.may.set()
    assert futures[0].result(10) == [2]
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(10)
    assert futures[2].result(10) == [4]
    queue.close()


def test_who_gave_up_is_not_worked_for(work: Work) -> None:
    queue, _ = begun(work, room=10, together=4)
    gave_up, stays = queue.add([1]), queue.add([2])
    assert gave_up.cancel()
    work.may.set()
    assert stays.result(10) == [4]
    assert work.batches == [[0], [2]]
    queue.close()


def test_clients_take_turns(work: Work) -> None:
    queue, _ = begun(work, room=20, together=1)
    many = [queue.add([number], "many") for number in (1, 2, 3)]
    one = queue.add([9], "one")
    work.may.set()
    assert [future.result(10) for future in (*many, one)] == [[2], [4], [6], [18]]
    assert work.batches == [[0], [1], [9], [2], [3]]
    queue.close()


def test_whoever_has_most_in_a_full_line_gives_way(work: Work) -> None:
    queue, _ = begun(work, room=4, together=1)
    first, second = queue.add([1, 2], "many"), queue.add([3, 4], "many")
    one = queue.add([5], "one")
    with pytest.raises(QueueFull):
        second.result(10)
    with pytest.raises(QueueFull):
        queue.add([6, 7], "many")
    assert queue.waiting == 3
    work.may.set()
    assert (first.result(10), one.result(10)) == ([2, 4], [10])
    queue.close()


def test_nobody_gives_way_in_vain(work: Work) -> None:
    queue, _ = begun(work, room=10, together=1)
    waiting = [queue.add([1, 2, 3], "a"), queue.add([4, 5, 6], "a"), queue.add([7, 8, 9, 10], "b")]
    with pytest.raises(QueueFull):
        queue.add([11, 12, 13, 14], "c")
    assert queue.waiting == 10
    work.may.set()
    assert [future.result(10)[0] for future in waiting] == [2, 8, 14]
    queue.close()


def test_what_nobody_waits_for_makes_room(work: Work) -> None:
    queue, _ = begun(work, room=2, together=4)
    queue.add([1, 2]).give_up()
    stays = queue.add([3, 4])
    work.may.set()
    assert stays.result(10) == [6, 8]
    assert work.batches == [[0], [3, 4]]
    queue.close()


def test_work_that_has_begun_is_told_when_nobody_waits(work: Work) -> None:
    queue, first = begun(work, room=2, together=4)
    assert not queue.given_up()
    first.give_up()
    assert queue.given_up()
    work.may.set()
    queue.close()


def test_what_stops_because_nobody_waits_is_not_tried_again() -> None:
    class Stopping(Work):
        def __call__(self, numbers: Sequence[int]) -> list[int]:
            super().__call__(numbers)
            raise GivenUp

    stopping = Stopping()
    queue, _ = begun(stopping, room=4, together=4)
    futures = [queue.add([1]), queue.add([2])]
    stopping.may.set()
    for future in futures:
        with pytest.raises(GivenUp):
            future.result(10)
    assert stopping.batches == [[0], [1, 2]]
    queue.close()


def test_closing_ends_what_is_begun_and_refuses_the_rest(work: Work) -> None:
    queue, first = begun(work, room=10, together=4)
    waits = queue.add([1])
    closing = threading.Thread(target=queue.close)
    closing.start()
    with pytest.raises(Closed):
        waits.result(10)
    with pytest.raises(Closed):
        queue.add([2])
    work.may.set()
    assert first.result(10) == [0]
    closing.join(10)
    assert not queue.thread.is_alive()
