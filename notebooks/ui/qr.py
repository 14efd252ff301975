"""An invoice as a QR code: inline SVG, dark on white in every theme, so that every camera reads it."""

from __future__ import annotations

from html import escape

import segno

_QUIET_ZONE = 4  # modules of white around it, as the standard wants


def svg(bolt11: str, *, label: str) -> str:
    """Return the code of an invoice.

    Args:
        bolt11: the invoice. In capitals the code is a third smaller, and means the same.
        label: what it is, for those who do not see it.
    """
    code = segno.make(f"LIGHTNING:{bolt11.upper()}", error="l", micro=False, boost_error=False)
    side = code.symbol_size(border=_QUIET_ZONE)[0]
    drawn = code.svg_inline(border=_QUIET_ZONE, light="#fff", dark="#111", omitsize=True)
    return f'<div class="tw-qr" role="img" aria-label="{escape(label, quote=True)}" data-modules="{side}">{drawn}</div>'
