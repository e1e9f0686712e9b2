import threading
import time
from collections.abc import Iterator

import pytest

from hf_ser.remote_code.reading_ahead import read_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_sources(threads: int) -> None:
    def read(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(read_ahead(range(20), read, threads)) == [number * number for number in range(20)]
    assert list(read_ahead([], read, threads)) == []
    assert list(read_ahead([7], read, threads)) == [49]


def test_several_sources_are_read_at_a_time() -> None:
    together = threading.Barrier(3, timeout=10)

    assert list(read_ahead(range(3), lambda _: together.wait() >= 0, 3)) == [True, True, True]


def test_no_more_sources_are_taken_than_threads_have_to_do() -> None:
    taken = []

    def sources() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = read_ahead(sources(), str, 2)
    assert next(results) == "0"
    assert len(taken) <= 4
    results.close()
    assert len(taken) <= 4


def test_an_exception_comes_in_its_place() -> None:
    def read(number: int) -> float:
        return 1 / (number - 2)

    results = read_ahead(range(5), read, 2)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
