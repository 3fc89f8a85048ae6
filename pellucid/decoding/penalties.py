"""Length penalties, under their true names. A score is a sum of log probabilities divided by the penalty.

Without one, longer outputs lose: every token adds a negative number. ``n`` counts the tokens of the output with its
end token and without its start token; an output cut at its limit has no end token, and all its tokens count.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.base.config import Penalty


def length_penalty(kind: Penalty, alpha: float) -> Callable[[int], float]:
    """The penalty as a function of ``n``. It never falls with ``n``: the stop rule of beam search builds on that.

    Args:
        kind: ``gnmt``, ((5 + n) / 6) ^ alpha, as Wu et al. 2016 (equation 14) and section 6.1 of the paper have it;
            ``power``, n ^ alpha (with alpha 1 the score is the mean log probability of a token); ``none``, always 1.
        alpha: at least 0; 0 is the same as ``none``.
    """
    if kind == "gnmt":
        return lambda n: float(((5 + n) / 6) ** alpha)
    if kind == "power":
        return lambda n: float(n**alpha)
    return lambda n: 1.0
