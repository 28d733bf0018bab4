"""Recognizes variables and options that contain secrets by their names: ``HF_TOKEN``, ``apiKey``, ``db_password``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORD = re.compile(
    r"(password|passwd|passphrase|secret|credential|apikey|accesskey|secretkey|privatekey"
    r"|apitoken|accesstoken|authtoken|bearertoken|refreshtoken|sessiontoken|hftoken|githubtoken|ghtoken)s?$"
    r"|^(authorization|bearer)$"
)
# A key of one of these kinds is a secret; others (a cache key, a sort key) are not.
_KEY_OF = _words_of(
    "api access account admin auth client deploy encryption hmac host license master private secret service session "
    "shared signing ssh subscription"
)
_LAST_WORDS = frozenset(("auth", "cookie", "cookies", "jwt"))
_LAST_OF_SEVERAL_WORDS = frozenset(("pat", "pwd"))
# ``pass`` can also be a compiler pass (``post_grad_custom_pre_pass``); ``passes`` always is.
_PASS_OF = _words_of(
    "admin basic broker database db host http https login mail mysql pg postgres proxy rabbitmq redis root smtp ssh "
    "user"
)
# A ``token`` of one of these kinds is text or a count (``eos_token``, ``num_experts_per_token``).
_NOT_SECRET_TOKEN = _words_of(
    "additional assistant audio begin blank boi bonus bos by cls current decoder draft each end eoi eos eot every "
    "extra first image img input last mask max min n new newline next num of one output pad patch per placeholder prev "
    "previous prompt reasoning row sampled sep single sot special speculative start stop system target think tool unk "
    "video vision"
)
# ``tokens`` are a count, unless they are of one of these kinds.
_SECRET_TOKENS = _words_of("access api auth bearer github gitlab hf login refresh registry secret security")
# Properties of a secret are not secret: its location, its name, its length.
_ABOUT_A_SECRET = _words_of(
    "backend count dir directory enabled endpoint file filename folder length limit mode name path provider required "
    "size sock socket store threshold timeout ttl type"
)
_SUFFIXES = _words_of("dev prod production read readonly ro rw staging test write")
# Each record that is written asks for the names of all variables.
_NAMES_REMEMBERED = 4096


@lru_cache(_NAMES_REMEMBERED)
def is_secret_name(name: str) -> bool:
    """Return whether a variable or option of this name is a secret: ``HF_TOKEN``, ``hf_token``, ``apiKey``."""
    return is_password_name(name) or is_token_name(name)


@lru_cache(_NAMES_REMEMBERED)
def is_password_name(name: str) -> bool:
    """Return whether a setting of this name is a secret of any type: a password, a key."""
    return any(_is_password_by(words) for words in _words(name))


def _is_password_by(words: list[str]) -> bool:
    if not words or words[-1] in _ABOUT_A_SECRET:
        return False
    before = words[-2] if len(words) > 1 else None
    return (
        any(_SECRET_WORD.search(word) for word in words)
        or words[-1] in _LAST_WORDS
        or (words[-1] in _LAST_OF_SEVERAL_WORDS and before is not None)
        or (words[-1] == "pass" and before in _PASS_OF)
        or any(first in _KEY_OF and second in ("key", "keys") for first, second in pairwise(words))
        or any(pair == ("connection", "string") for pair in pairwise(words))
    )


@lru_cache(_NAMES_REMEMBERED)
def is_token_name(name: str) -> bool:
    """Return whether a setting of this name is a secret if its value is text; a number is a count of tokens."""
    return any(_is_token_by(words) for words in _words(name))


def _is_token_by(words: list[str]) -> bool:
    before = words[-2] if len(words) > 1 else ""
    match words[-1:]:
        case ["token"]:
            return before not in _NOT_SECRET_TOKEN
        case ["tokens"]:
            return before in _SECRET_TOKENS
    return False


def _words(name: str) -> Iterator[list[str]]:
    """Yield the words of `name` in lower case, with and without splitting at capitals, without trailing numbers and
    suffixes."""
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    for text in {name.lower(), spelled.lower()}:
        words = re.findall(r"[a-z]+|[0-9]+", text)
        while len(words) > 1 and (words[-1].isdigit() or words[-1] in _SUFFIXES):
            words.pop()
        yield words
