"""Tokens and cost of all requests together, and a budget that is not passed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from leadpp.errors import BudgetError

_MILLION = 1_000_000


class Claim:
    """The part of a budget that is set aside for one request while it is under way."""

    def __init__(self, *, most: float) -> None:
        self.most = most
        """The most that the request can cost."""
        self.used: tuple[int, int] | None = None
        """Tokens in and out that it took; None where nobody knows."""

    def settle(self, tokens_in: int, tokens_out: int) -> None:
        """Say what the request took; 0 and 0 if the server did not take it on."""
        self.used = (tokens_in, tokens_out)


class Meter:
    """Counts what requests take; several at once share it.

    A request is sent only if the budget holds it even at its worst, beside those that are under way. One of which
    nobody knows what it took (its answer never arrived whole) counts at its worst for good.

    Attributes:
        tokens_in: Tokens of prompts so far.
        tokens_out: Tokens of answers so far.
    """

    def __init__(self, *, price_in: float = 0.0, price_out: float = 0.0, budget: float = 0.0) -> None:
        """Begin at nothing.

        Args:
            price_in: Of a million tokens of prompts.
            price_out: Of a million tokens of answers.
            budget: The most that all requests may cost, in the currency of the prices; 0 sets no limit.
        """
        self.tokens_in = self.tokens_out = 0
        self._price_in, self._price_out, self._budget = price_in, price_out, budget
        self._doubtful = self._claimed = 0.0
        self._under_way = 0
        self._freed = asyncio.Condition()

    @property
    def cost(self) -> float:
        """What the counted tokens cost, and at its worst what nobody could count."""
        return self.cost_of(self.tokens_in, self.tokens_out) + self._doubtful

    def cost_of(self, tokens_in: int, tokens_out: int) -> float:
        """Return the price of so many tokens."""
        return (tokens_in * self._price_in + tokens_out * self._price_out) / _MILLION

    def words(self) -> str:
        """Say what was taken so far: tokens and, where there is a price, cost."""
        cost = f", cost {self.cost:.4f}" if self._price_in or self._price_out else ""
        return f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out{cost}"

    @contextlib.asynccontextmanager
    async def claiming(self, tokens_in: int, tokens_out: int) -> AsyncIterator[Claim]:
        """Set aside what a request may cost; wait for others to end if there is no room beside them.

        Args:
            tokens_in: The most that its prompt can have.
            tokens_out: The most that its answer can have.

        Raises:
            BudgetError: It might pass the budget although nothing else is under way.
        """
        claim = Claim(most=self.cost_of(tokens_in, tokens_out))
        async with self._freed:
            await self._freed.wait_for(lambda: not self._under_way or self._has_room(claim))
            if not self._has_room(claim):
                raise BudgetError(
                    f"the next request might cost {claim.most:.4f}, and {self.cost:.4f} of the budget of "
                    f"{self._budget:g} is used: raise it, or lower llm.max_tokens"
                )
            self._under_way += 1
            self._claimed += claim.most
        try:
            yield claim
        finally:
            await self._close(claim)

    def _has_room(self, claim: Claim) -> bool:
        return not self._budget or self.cost + self._claimed + claim.most <= self._budget

    async def _close(self, claim: Claim) -> None:
        self._under_way -= 1
        self._claimed = self._claimed - claim.most if self._under_way else 0.0  # rounding does not pile up
        if claim.used is None:
            self._doubtful += claim.most
        else:
            self.tokens_in += claim.used[0]
            self.tokens_out += claim.used[1]
        async with self._freed:
            self._freed.notify_all()
