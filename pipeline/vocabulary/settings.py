"""Every knob of talkwire as typed records. Values and reasons stand in `config/default.toml`, nowhere else.

No field has a default here: the shipped file is the one place for them, so a setting cannot differ between code and
documentation. Reading and checking is `vocabulary/configuration.py`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
FrameMs = Annotated[int, Meta(ge=20, le=40, multiple_of=10)]
SecretTtl = Annotated[int, Meta(ge=1, le=7_200)]
DeviceList = str | list[str]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of one table of the settings file."""


class AudioSettings(Section, frozen=True):
    """`[audio]`: devices as design §9 names them (`wav:PATH`, `unix:PATH`, `none:`, ...), tried in order."""

    input: DeviceList
    output: DeviceList
    frame_ms: FrameMs
    volume: Share
    fade_ms: Annotated[float, Meta(ge=0, le=50)]


class TurnSettings(Section, frozen=True):
    """`[turn]`: who decides that the user has finished, and how."""

    mode: Literal["server_vad", "push_to_talk"]
    threshold: Share
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=2_000)]
    silence_duration_ms: Annotated[int, Meta(ge=100, le=5_000)]


class ConversationSettings(Section, frozen=True):
    """`[conversation]`: what the service is told about this call."""

    instructions: Annotated[str, Meta(max_length=20_000)]
    voice: str
    language: str
    model: str
    transcription_model: str


class ServiceSettings(Section, frozen=True):
    """`[service]`: the Realtime service and how long each phase of reaching it may take."""

    url: str
    connect_deadline_s: Positive
    configure_deadline_s: Positive
    close_deadline_s: Positive


class TokenSettings(Section, frozen=True):
    """`[token]`: where client secrets come from.

    `source` is "backend" (GET url) or "provider" (POST url with the server-side key, for machines that may hold it).
    """

    source: Literal["backend", "provider"]
    url: str
    device_id: str
    deadline_s: Positive


class RetrySettings(Section, frozen=True):
    """`[retry]`: full jitter backoff of connection attempts."""

    first_s: Positive
    cap_s: Positive
    busy_cap_s: Positive
    reset_after_s: Positive
    attempts_per_minute: Annotated[int, Meta(ge=1, le=60)]


class ServerSettings(Section, frozen=True):
    """`[server]`: the embedded local Realtime server.

    `voice_activity`, `recogniser`, `brain` and `voice_engine` are names of installed engines (`server/engines/loader`);
    `voice` is one of the voices that the voice engine has. The `chat_` settings are the brain "chat"'s.
    """

    host: str
    port: Port
    dialect: Literal["openai", "azure", "beta", "hf"]
    voice_activity: str
    recogniser: str
    brain: str
    voice_engine: str
    voice: str
    knowledge: str
    chat_url: str
    chat_model: str
    chat_timeout_s: Positive
    chat_fallback: Annotated[str, Meta(min_length=1, max_length=600)]
    session_cap_s: Positive
    tokens_per_minute: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    secret_ttl_s: SecretTtl
    secret_cap_s: SecretTtl
    max_sessions: Annotated[int, Meta(ge=1, le=10_000)]


class TokensSettings(Section, frozen=True):
    """`[tokens]`: the token backend. `provider_url` is the mint of the provider whose key this backend holds."""

    host: str
    port: Port
    provider_url: str
    secret_ttl_s: Annotated[int, Meta(ge=10, le=7_200)]
    deadline_s: Positive
    mints_per_minute: Annotated[int, Meta(ge=1, le=10_000)]


class RuntimeSettings(Section, frozen=True):
    """`[runtime]`: how the daemon runs on its machine.

    `directory` is where it keeps what lives as long as it runs; empty is the system's own place for that.
    """

    placement: Literal["single", "daemon"]
    directory: str


class Settings(Section, frozen=True):
    """The whole settings file."""

    runtime: RuntimeSettings
    audio: AudioSettings
    turn: TurnSettings
    conversation: ConversationSettings
    service: ServiceSettings
    token: TokenSettings
    retry: RetrySettings
    server: ServerSettings
    tokens: TokensSettings
