"""The queue of the watch and its budget."""

import threading
import time

import numpy as np
import pytest

from service.sampling import Budget, SampleQueue


def test_a_budget_allows_a_burst_and_then_its_share() -> None:
    now = 0.0
    budget = Budget(0.02, clock=lambda: now)
    assert budget.wait_s() == 0
    with budget.spending():
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
    budget._credit -= 0.25  # the burst
    assert budget.wait_s() == pytest.approx(0.05 / 0.02, rel=0.3)
    now += 4.0
    assert budget.wait_s() == 0


def test_the_smallest_budget_is_asked_again() -> None:
    budget = Budget(1e-300)
    budget._credit = -1.0
    assert budget.wait_s() == 60


def test_a_pause_takes_no_notice_that_is_meant_for_who_takes() -> None:
    queue = SampleQueue[str](10, 10**6)
    taken: list[object] = []
    pausing = threading.Thread(target=queue.pause, args=(30,))
    taking = threading.Thread(target=lambda: taken.append(queue.take(8)))
    pausing.start()
    time.sleep(0.05)
    taking.start()
    time.sleep(0.05)
    assert queue.put("owner", {"x": np.ones((2, 3))})
    taking.join(5)
    assert len(taken) == 1
    queue.close()
    pausing.join(5)
    assert not pausing.is_alive()
    assert queue.take(8) is None


def test_one_entry_that_is_too_large_is_taken_alone() -> None:
    queue = SampleQueue[str](4, 10**6)
    assert queue.put("owner", {"x": np.ones((9, 1))})
    assert not queue.put("owner", {"x": np.ones((1, 1))})
    assert len(queue) == 1
    queue.take(8)
    assert queue.put("owner", {"x": np.ones((4, 1))})


def test_what_comes_one_by_one_is_taken_together() -> None:
    queue = SampleQueue[str](100, 10**6)
    rows = np.arange(20.0).reshape(10, 2)
    for row in rows:
        assert queue.put("owner", {"x": row[None]})
    assert queue.put("other", {"x": rows[:1]})
    assert queue.put("other", {"x": np.ones((1, 3))})
    taken = [queue.take(8) for _ in range(4)]
    assert [owner for owner, _ in filter(None, taken)] == ["owner", "owner", "other", "other"]
    sizes = [inputs["x"].shape for _, inputs in filter(None, taken)]
    assert sizes == [(8, 2), (2, 2), (1, 2), (1, 3)]
    assert taken[0] is not None
    assert (taken[0][1]["x"] == rows[:8]).all()
    assert len(queue) == 0
    assert queue.put("owner", {"x": np.ones((100, 1))})
