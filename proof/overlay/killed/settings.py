"""The site's settings for a process that dies before it can say that a session has ended."""

from config.settings import *  # noqa: F403
from config.settings import CHANNEL_LAYERS

LAYER = CHANNEL_LAYERS["default"]["BACKEND"]
CHANNEL_LAYERS = {"default": {**CHANNEL_LAYERS["default"], "BACKEND": "killed.layer.DyingLayer"}}
