"""Amounts of money as options of a command."""

from decimal import Decimal, InvalidOperation

import typer

DIGITS = 8
"""Most digits before the point."""


def money(text: str) -> Decimal:
    """Read USD with up to six decimals. Raises what Typer shows as a wrong value."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no amount. Write USD such as 100 or 0.000444.") from None
    if not amount.is_finite() or amount < 0 or amount >= 10**DIGITS or amount != round(amount, 6):
        raise typer.BadParameter(f"{text!r}: an amount has no sign, at most {DIGITS} digits and six decimals.")
    return amount
