"""Random numbers that are functions: the same coordinates give the same number, in any order, after any restart.

Nothing is drawn from a generator with a state, so nothing has to be stored or replayed to continue a price series.
"""

from hashlib import blake2b
from math import sqrt
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


def gaussian(seed: int, stream: str, index: int) -> float:
    """A standard normal number that depends on its three coordinates only."""
    digest = blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    # 52 bits and a half: strictly between 0 and 1 as a float, where the inverse distribution is finite.
    uniform = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return _STANDARD_NORMAL.inv_cdf(uniform)


def brownian(seed: int, stream: str, step: int) -> float:
    """A standard Brownian path at a whole time, in a number of operations that grows with the logarithm of the step.

    Lévy's construction: the path is fixed at the powers of two first, then every midpoint between two known times is
    normal around their mean, with a quarter of their distance as its variance.
    """
    if step <= 0:
        return 0.0
    known = gaussian(seed, f"{stream}-power", 0)
    left, right = 1, 2
    ahead = known + gaussian(seed, f"{stream}-power", 1)
    while right <= step:
        left, right, known = right, right * 2, ahead
        ahead = known + sqrt(left) * gaussian(seed, f"{stream}-power", left.bit_length())
    while left != step:
        middle = (left + right) // 2
        between = (known + ahead) / 2 + sqrt((right - left) / 4) * gaussian(seed, f"{stream}-middle", middle)
        if middle <= step:
            left, known = middle, between
        else:
            right, ahead = middle, between
    return known


def mean_reverting(seed: int, stream: str, step: int, half_life: int) -> float:
    """A first-order autoregressive path with variance 1 whose deviations halve every `half_life` steps.

    Written as its moving average and cut where the remaining weights are below a millionth.
    """
    decay = 0.5 ** (1 / half_life)
    total, weight = 0.0, 1.0
    for age in range(20 * half_life):
        total += weight * gaussian(seed, stream, step - age)
        weight *= decay
    return total * sqrt(1 - decay * decay)
