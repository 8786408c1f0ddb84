"""Which of Dovecot's configuration languages the installed version reads."""

from __future__ import annotations

import re

from gatepost.errors import UsageError
from gatepost.model import Site

DIALECTS = {(2, 3): "2.3", (2, 4): "2.4"}
"""Release → folder of templates. 2.4 refuses 2.3's language and the other way round."""

_OLDEST = {(2, 3): 19, (2, 4): 1}
"""Release → the patch level from which on the templates were run for real."""


def dialect(site: Site) -> str:
    """Return the dialect of the installed Dovecot; raise `UsageError` when there is none."""
    installed = site.installed.get("dovecot")
    if installed is None:
        raise UsageError(
            "dovecot: the program is not installed, and the language of its configuration depends "
            "on its version. Install it: apt-get install dovecot-core"
        )
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", installed.version)
    release = (int(found[1]), int(found[2])) if found else None
    if found is None or release not in DIALECTS or int(found[3]) < _OLDEST[release]:
        raise UsageError(
            f'dovecot: version "{installed.version}" is none that Gatepost can write a '
            "configuration for: it must be 2.3 from 2.3.19 on (Debian 12) or 2.4 from 2.4.1 on "
            "(Debian 13). Install the packages of one of these releases."
        )
    return DIALECTS[release]
