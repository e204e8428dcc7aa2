"""Followers that want the same of the database at the same time share one question."""

import asyncio

import pytest

from extauthz.storage.shared_questions import SharedQuestions


class Database:
    """Answers when it is told to, and counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def answer(self) -> str:
        self.asked += 1
        await self.go.wait()
        return "found"


def test_callers_at_the_same_time_share_one_question_and_later_ones_ask_again() -> None:
    async def scenario() -> None:
        questions, database = SharedQuestions(), Database()
        callers = [asyncio.create_task(questions.ask("key", database.answer)) for _ in range(100)]
        other = asyncio.create_task(questions.ask("another", database.answer))
        await asyncio.sleep(0)
        database.go.set()
        assert await asyncio.gather(*callers, other) == ["found"] * 101
        assert database.asked == 2
        assert await questions.ask("key", database.answer) == "found"
        assert database.asked == 3

    asyncio.run(scenario())


def test_a_caller_that_goes_away_ends_no_other_question() -> None:
    async def scenario() -> None:
        questions, database = SharedQuestions(), Database()
        first, second = (asyncio.create_task(questions.ask("key", database.answer)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        database.go.set()
        assert await second == "found"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scenario())


def test_an_error_reaches_every_caller() -> None:
    async def fails() -> str:
        raise ConnectionError("gone")

    async def scenario() -> None:
        questions = SharedQuestions()
        callers = [questions.ask("key", fails) for _ in range(3)]
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(each) for each in found] == [ConnectionError] * 3

    asyncio.run(scenario())
