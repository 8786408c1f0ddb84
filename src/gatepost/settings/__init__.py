"""Settings: the only reader of the environment.

Each concern is one small class whose attributes are the variables in lower case, with a docstring
under each. `load` validates all of them together and reports every problem at once.
"""

from gatepost.settings.concerns import Place
from gatepost.settings.loading import Settings, load

__all__ = ["Place", "Settings", "load"]
