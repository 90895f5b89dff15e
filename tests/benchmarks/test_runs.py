"""What the benchmarks verify: a wrong answer is never counted."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.runs import Echoes, OneWay, Tally, WrongAnswer, echo_figures, percentile
from benchmarks.work import WORKS, Subject, Task, Work

_TASK = Task(Work(Subject.ECHO, body=64, outstanding=4), seconds=0.01, warm_up=0.0)


def _answer_all(run: Echoes) -> None:
    while run.running:
        run.answered(run.next_id(), run.body)


def test_answers_are_timed_and_counted() -> None:
    run = Echoes(_TASK)
    _answer_all(run)

    figures = echo_figures([run])

    assert run.outstanding == 0
    assert figures["messages"] == run.messages
    assert figures["per_second"] == run.per_second == pytest.approx(len(run.round_trips) / 0.01)
    assert 0 < figures["p50_us"] <= figures["p99_us"]
    assert figures["client_cpu_us"] >= figures["client_kernel_us"] >= 0
    assert "fairness" not in figures


def test_fairness_is_the_slowest_channel_over_the_fastest() -> None:
    slow, fast = runs = [Echoes(attrs.evolve(_TASK, seconds=60.0), channel) for channel in (0, 1)]
    for _ in range(3):
        slow.answered(slow.next_id(), slow.body)
    for _ in range(6):
        fast.answered(fast.next_id(), fast.body)

    assert echo_figures(runs)["fairness"] == 0.5


@pytest.mark.parametrize("wrong", ["id", "order", "body", "length"])
def test_a_wrong_echo_is_noticed(wrong: str) -> None:
    run = Echoes(_TASK)
    first, second = run.next_id(), run.next_id()
    message_id = {"id": first + 7, "order": second}.get(wrong, first)
    body = {"body": bytes(64), "length": run.body[:-1]}.get(wrong, run.body)

    with pytest.raises(WrongAnswer, match="expected message 1 with 64 bytes"):
        run.answered(message_id, body)


def test_an_answer_of_another_channel_is_noticed() -> None:
    one, other = Echoes(_TASK, 1), Echoes(_TASK, 2)

    with pytest.raises(WrongAnswer):
        one.answered(other.next_id(), one.body)


def test_no_answer_at_all_is_a_wrong_answer() -> None:
    with pytest.raises(WrongAnswer, match="nothing"):
        echo_figures([Echoes(_TASK)])


@pytest.mark.parametrize(
    ("per_mille", "expected"), [(500, 50), (990, 99), (999, 100), (1000, 100), (0, 1)]
)
def test_percentiles_of_a_hundred(per_mille: int, expected: int) -> None:
    assert percentile(range(1, 101), per_mille) == expected


@given(
    samples=st.lists(st.integers(0, 99), min_size=1, max_size=50), per_mille=st.integers(0, 1000)
)
def test_a_percentile_is_the_least_sample_that_so_many_do_not_exceed(
    samples: list[int], per_mille: int
) -> None:
    found = percentile(sorted(samples), per_mille)

    below = sum(sample < found for sample in samples)
    assert found in samples
    assert sum(sample <= found for sample in samples) * 1000 >= per_mille * len(samples)
    assert found == min(samples) or below * 1000 < per_mille * len(samples)


def _send_all(run: OneWay, tally: Tally) -> None:
    for ids in run.stretches():
        for message_id in ids:
            tally.arrived(message_id, run.body)
        run.counted(tally.answer())


def test_one_way_is_counted_by_the_server() -> None:
    run = OneWay(_TASK)
    _send_all(run, Tally(_TASK))

    assert run.figures()["per_second"] > 0


@pytest.mark.parametrize("wrong", ["lost", "order", "body"])
def test_one_way_notices_what_did_not_arrive_as_sent(wrong: str) -> None:
    run, tally = OneWay(attrs.evolve(_TASK, warm_up=0.001)), Tally(_TASK)
    ids = list(next(run.stretches()))
    bodies = dict.fromkeys(ids, run.body)
    if wrong == "lost":
        ids.pop(3)
    elif wrong == "order":
        ids[3], ids[4] = ids[4], ids[3]
    else:
        bodies[3] = b"something else"
    for message_id in ids:
        tally.arrived(message_id, bodies[message_id])

    with pytest.raises(WrongAnswer):
        run.counted(tally.answer())


def test_a_task_survives_the_command_line() -> None:
    for work in WORKS:
        task = Task(work, seconds=0.5, warm_up=0.1, server_pid=7, profile="somewhere")
        assert Task.from_json(task.to_json()) == task
        assert task.body == Task.from_json(task.to_json()).body
        assert len(task.body) == work.body


def test_names_of_works_are_unique() -> None:
    assert len({work.name for work in WORKS}) == len(WORKS) == len({work.title for work in WORKS})


def test_a_channel_that_answers_too_late_is_measured_all_the_same() -> None:
    run = Echoes(attrs.evolve(_TASK, seconds=0.0))
    _answer_all(run)

    assert len(run.round_trips) == 1
