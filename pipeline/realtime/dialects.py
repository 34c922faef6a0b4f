"""How services differ from GA in what they call things. Sans-IO, shared by client and local server."""

from typing import Final

BETA_NAMES: Final = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
"""Events of a reply by their GA names, and what the beta protocol calls them; nothing else about them differs."""
