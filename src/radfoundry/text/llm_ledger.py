"""What a language model was asked, what it took, and what that costs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Ledger:
    """Counts of one extractor, safe to add to from several threads.

    asked: windows of reports x chunks of the dictionary. They are either cached, answered, or failures.
    requests: sent to the model, with retries (after a failed attempt), repairs (after an unusable answer) and
    refused (answer formats that the endpoint does not know). cut: answers that ended at max_tokens, or at the
    end of the context, before they were whole. unmetered: answers that do not tell their
    tokens. seconds: spent waiting for answers, summed over requests that ran side by side. Prices are for a
    million tokens, in the user's currency.

    >>> one = Ledger(price_in=0.5, price_out=2.0)
    >>> one.add(asked=1, answered=1, requests=1, prompt_tokens=1000, completion_tokens=100)
    >>> print(one)
    1 asked: 0 cached, 1 answered, 0 failed; 1 request (0 retries, 0 repairs, 0 refused formats), 0.0 s; \
1000 + 100 tokens; cost 0.0007
    """

    price_in: float | None = None
    price_out: float | None = None
    asked: int = 0
    cached: int = 0
    answered: int = 0
    failures: int = 0
    requests: int = 0
    retries: int = 0
    repairs: int = 0
    refused: int = 0
    cut: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **more: float) -> None:
        """Add to counts by name."""
        with self._lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    @property
    def cost(self) -> float | None:
        """Of the metered tokens; None without prices."""
        if self.price_in is None and self.price_out is None:
            return None
        tokens_in, tokens_out = self.prompt_tokens, self.completion_tokens
        return (tokens_in * (self.price_in or 0) + tokens_out * (self.price_out or 0)) / 1e6

    def as_dict(self) -> dict[str, Any]:
        """Every count, the prices and the cost, as plain values."""
        with self._lock:
            plain = {
                one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")
            }
        return {**plain, "seconds": round(plain["seconds"], 3), "cost": self.cost}

    def __str__(self) -> str:
        sent = f"{self.requests} request{'' if self.requests == 1 else 's'}"
        cost = "" if self.cost is None else f"; cost {self.cost:.4f}"
        cut = f", {self.cut} cut off" if self.cut else ""
        unmetered = f" ({self.unmetered} answers did not tell theirs)" if self.unmetered else ""
        return (
            f"{self.asked} asked: {self.cached} cached, {self.answered} answered, {self.failures} failed"
            f"{cut}; {sent} ({self.retries} retries, {self.repairs} repairs, {self.refused} refused formats)"
            f", {self.seconds:.1f} s; {self.prompt_tokens} + {self.completion_tokens} tokens{unmetered}{cost}"
        )
