"""The autopilot: which accepted products are audited, and which state follows from the verdicts.

Of the products that are accepted without a person, a keyed hash picks the audit sample. People say
of each of these whether its tag is wrong; `tagging.evidence` says what that proves, `next_state`
what follows: provisional, certified or off. Everything here is pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final

from tagging.domain import Autopilot
from tagging.evidence import Evidence

AUDIT_SHARE: Final = 0.05
"""Part of the accepted products that is audited, unless a setting says otherwise.

After a long good stretch, a rise of the error to 5 % then lets about 170 wrong tags out until it is
stopped, where verdicts come as fast as tags, for a person's look at every twentieth accepted
product. With 1 % it is 870, with 2 % 430, with 10 % 80 (`make simulate-autopilot`).
"""


@dataclass(frozen=True, kw_only=True)
class Next:
    """The state that follows from the evidence, and why, in a sentence."""

    state: Autopilot
    reason: str


def in_audit_sample(
    key: bytes, *, retailer_id: int, sku: str, image_set: str, model: str, share: float
) -> bool:
    """Whether a product is audited when `model` accepts it.

    The same product with the same photos under the same model always gets the same answer, whoever
    asks; without the key, nobody can tell who is audited. A larger share contains a smaller one.

    Args:
        key: The retailer's secret.
        model: The fingerprint of the model's card.
        share: Part of the accepted products that is audited, 0 to 1.

    Raises:
        ValueError: `share` lies outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the audit's share cannot be {share!r}")
    # JSON, so that no two products can be spelled alike.
    named = json.dumps([retailer_id, sku, image_set, model]).encode()
    drawn = int.from_bytes(hmac.digest(key, named, hashlib.sha256)[:8], "big")
    return drawn < share * 2**64


def next_state(current: Autopilot, evidence: Evidence, target: float) -> Next:
    """The state that follows. Only a person leaves `off`; then the evidence starts anew."""
    allowed = 1 - target
    seen = f"{evidence.errors} wrong of {evidence.verdicts} audited"
    if current is Autopilot.OFF:
        return Next(state=Autopilot.OFF, reason="off until a person turns it on")
    if evidence.lower > allowed:
        return Next(
            state=Autopilot.OFF,
            reason=f"{seen}: the error is at least {evidence.lower:.2%}, over the {allowed:.2%} "
            "allowed",
        )
    if evidence.drifting:
        return Next(
            state=Autopilot.OFF,
            reason=f"{seen}, and the last of them say that the error rose over the {allowed:.2%} "
            "allowed",
        )
    if evidence.upper <= allowed:
        return Next(
            state=Autopilot.CERTIFIED,
            reason=f"{seen}: the error is at most {evidence.upper:.2%}, within the {allowed:.2%} "
            "allowed",
        )
    # A claim that the verdicts no longer bear out is not upheld, but neither is it refuted.
    return Next(
        state=Autopilot.PROVISIONAL,
        reason=f"{seen}: the error may be up to {evidence.upper:.2%}, over the {allowed:.2%} "
        "allowed",
    )
