"""The recogniser: Moonshine tiny (https://github.com/moonshine-ai/moonshine) run by onnxruntime.

The weights lie inside the wheel of `moonshine-voice`, whose own code is not imported: an encoder that takes raw 16 kHz
sound, a decoder that gives one token at a time and hands back its keys and values, and a list of byte pieces.
"""

import unicodedata
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.dsp.pcm16 import FULL_SCALE, to_samples
from pipeline.dsp.resample import resample
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

MODEL_RATE_HZ: Final = 16_000
MODEL_SAMPLES_PER_MS: Final = MODEL_RATE_HZ // 1_000
ATTENTION_HEADS: Final = 8
HEAD_WIDTH: Final = 36
START_TOKEN: Final = 1
END_TOKEN: Final = 2
TOKENS_PER_S: Final = 6.5  # about twice quick speech: beyond it the decoder repeats itself
SPARE_TOKENS: Final = 4  # half a second may still hold a word and its full stop
MAX_UTTERANCE_MS: Final = 120_000  # nobody asks a desk for longer; what follows is left out
PIECE_MS: Final = 24_000  # learned on pieces up to 30 s; the cost grows with the square of the length
SEARCH_MS: Final = 6_000  # a longer utterance is cut at the quietest moment of this much before the limit
QUIET_WINDOW_MS: Final = 100  # a gap between words
MIN_PIECE_MS: Final = 100  # shorter holds no word, and the encoder's first filters need some sound
HALLUCINATIONS: Final = frozenset({"you", "thank you for watching"})  # written for hiss, music and tones

Samples = NDArray[np.float32]


class MoonshineRecogniser:
    """`Recogniser` for English; 24 times faster than real time or better on one core. Threads may share it.

    Raises:
        ConfigurationError: the weights are not on this machine.
    """

    def __init__(self) -> None:
        folder = _weights_folder()
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._pieces = _byte_pieces((folder / "tokenizer.bin").read_bytes())
        self._cache_names = [node.name for node in self._decoder.get_inputs() if node.name.startswith("past_")]

    def transcribe(self, pcm: bytes) -> str:
        """The words in s16le mono at `RATE_HZ`; empty if there are none.

        Over 24 s the sound is cut in the longest gaps and recognised piece by piece; over 120 s the rest is left out.
        """
        sound = _model_sound(pcm[: MAX_UTTERANCE_MS * BYTES_PER_MS])
        words = (self._transcribe_piece(piece) for piece in _cut(sound))
        return " ".join(filter(None, words))

    def _transcribe_piece(self, sound: Samples) -> str:
        tokens = self._decode(sound[None])
        pieces = b"".join(self._pieces[token] for token in tokens)
        return without_hallucination(pieces.decode(errors="ignore").replace("\u2581", " ").strip())

    def _decode(self, sound: Samples) -> list[int]:
        """Greedy decoding: the likeliest token each time, until the model ends the sentence or the bound is reached."""
        heard = np.ones(sound.shape, np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": sound, "attention_mask": heard})
        cache = {name: np.zeros((0, ATTENTION_HEADS, 1, HEAD_WIDTH), np.float32) for name in self._cache_names}
        tokens: list[int] = []
        token = START_TOKEN
        for step in range(int(sound.shape[1] / MODEL_RATE_HZ * TOKENS_PER_S) + SPARE_TOKENS):
            asked = {"input_ids": np.array([[token]]), "use_cache_branch": np.array([step > 0])}
            known = {"encoder_hidden_states": hidden, "encoder_attention_mask": heard}
            logits, *present = self._decoder.run(None, {**asked, **known, **cache})
            fresh = zip(self._cache_names, present, strict=True)
            # What the encoder said never changes after the first step; later copies of it come back empty.
            cache |= {name: value for name, value in fresh if step == 0 or ".decoder." in name}
            token = int(logits[0, -1].argmax())
            if token == END_TOKEN:
                break
            tokens.append(token)
        return tokens


def without_hallucination(text: str) -> str:
    """The text without music notes, or nothing if it is one of those that this model writes when it hears noise.

    Besides the phrases of `HALLUCINATIONS` these are notes alone and words in other scripts (dates in Thai on silence).
    """
    words = text.replace("♪", "").strip()
    foreign = any(letter.isalpha() and "LATIN" not in unicodedata.name(letter, "") for letter in words)
    if foreign or words.strip(" .,!?").lower() in HALLUCINATIONS or not any(map(str.isalnum, words)):
        return ""
    return words


def _weights_folder() -> Path:
    try:
        folder = Path(str(distribution("moonshine-voice").locate_file("moonshine_voice/assets/tiny-en")))
    except PackageNotFoundError:
        folder = None
    if folder is None or not (folder / "decoder_model_merged.ort").is_file():
        message = "the recogniser's weights are missing; install them with: pip install 'talkwire[local]'"
        raise ConfigurationError([Problem("server", message)])
    return folder


def _session(weights: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a small box has other work for its other cores
    options.log_severity_level = 3  # errors only: warnings would go to the terminal of `demo`
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def _byte_pieces(table: bytes) -> list[bytes]:
    """Token number → its UTF-8 bytes; control tokens such as `</s>` become empty.

    The table is a sequence of (length, bytes). A length from 128 up takes two bytes: low part + 128, then high part.
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(table):
        length = table[at]
        at += 1
        if length >= 128:
            length += table[at] * 128 - 128
            at += 1
        piece = table[at : at + length]
        pieces.append(b"" if piece.startswith(b"<") and piece.endswith(b">") else piece)
        at += length
    return pieces


def _model_sound(pcm: bytes) -> Samples:
    return to_samples(resample(pcm, RATE_HZ, MODEL_RATE_HZ)).astype(np.float32) / np.float32(FULL_SCALE)


def _cut(sound: Samples) -> list[Samples]:
    """Pieces of at most `PIECE_MS`, each cut in the middle of the quietest window before its limit."""
    limit, search, window = (ms * MODEL_SAMPLES_PER_MS for ms in (PIECE_MS, SEARCH_MS, QUIET_WINDOW_MS))
    pieces: list[Samples] = []
    while len(sound) > limit:
        candidates = sound[limit - search : limit].reshape(-1, window)
        quietest = int(np.square(candidates).sum(axis=1).argmin())
        at = limit - search + quietest * window + window // 2
        pieces.append(sound[:at])
        sound = sound[at:]
    pieces.append(sound)
    return [piece for piece in pieces if len(piece) >= MIN_PIECE_MS * MODEL_SAMPLES_PER_MS]
