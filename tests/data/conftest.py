"""Every data set in its own layout, small."""

from helpers.miniatures import *  # noqa: F403 - fixtures
