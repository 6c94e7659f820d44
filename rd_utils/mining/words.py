"""Which words of a text BM25 counts: pieces of the text, without stop words, as stems. Index and queries are read by the same functions.

Pieces are words between spaces and punctuation, or, for text without spaces, overlapping pairs of characters (bigrams): 猫在垫子上 gives
猫在, 在垫, 垫子, 子上, as Lucene's CJKAnalyzer and the CJK runs of TREC and NTCIR cut it. Stems are Snowball's, by PyStemmer.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rd_utils.mining.retrievers import BM25

STEMMERS = (  # the algorithms of PyStemmer; porter is English too, as of 1980, and dutch_porter the older one for Dutch
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "dutch_porter", "english", "esperanto", "estonian", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "persian",
    "polish", "porter", "portuguese", "romanian", "russian", "serbian", "sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
STOPWORDS = (  # the languages of bm25s and stopwordsiso
    "afrikaans", "arabic", "armenian", "basque", "bengali", "breton", "bulgarian", "catalan", "chinese", "croatian", "czech", "danish",
    "dutch", "english", "esperanto", "estonian", "finnish", "french", "galician", "german", "greek", "gujarati", "hebrew", "hindi",
    "hungarian", "indonesian", "irish", "italian", "japanese", "korean", "kurdish", "latin", "latvian", "lithuanian", "malay", "marathi",
    "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "sesotho", "slovak", "slovenian", "somali", "spanish",
    "swahili", "swedish", "tagalog", "thai", "turkish", "ukrainian", "urdu", "vietnamese", "yoruba", "zulu",
)  # fmt: skip


Split = Callable[[str], list[str]]

_WORD = re.compile(r"\w\w+")  # as bm25s's (?u)\b\w\w+\b
_TURKISH = str.maketrans({"I": "ı", "İ": "i"})  # the lower case of the two letters that other languages take for one
# Han, Hiragana, Katakana, Hangul, which Lucene's CJKBigramFilter pairs, and Thai, Lao, Myanmar and Khmer, written without spaces too.
_PAIRED = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u3041-\u309f\U0001b000-\U0001b16f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff"
    "\u0e01-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\uaa60-\uaa7f\u1780-\u17d3"
)
_PAIRED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "MYANMAR", "KHMER")  # as Unicode's names of letters begin
_LANGUAGES_OF = {  # the stemmers of languages of a script, where it is not Latin
    "ARABIC": ("arabic", "persian"), "ARMENIAN": ("armenian",), "CYRILLIC": ("russian", "serbian"), "DEVANAGARI": ("hindi", "nepali"),
    "GREEK": ("greek",), "HEBREW": ("none", "yiddish"), "TAMIL": ("tamil",),
}  # fmt: skip
_OF_BM25S = {
    "english": "EN", "chinese": "CHINESE", "danish": "DANISH", "dutch": "DUTCH", "french": "FRENCH", "german": "GERMAN",
    "italian": "ITALIAN", "korean": "KOREAN", "norwegian": "NORWEGIAN", "portuguese": "PORTUGUESE", "russian": "RUSSIAN",
    "spanish": "SPANISH", "swedish": "SWEDISH", "turkish": "TURKISH",
}  # fmt: skip
_OF_STOPWORDS_ISO = {
    "afrikaans": "af", "arabic": "ar", "armenian": "hy", "basque": "eu", "bengali": "bn", "breton": "br", "bulgarian": "bg",
    "catalan": "ca", "croatian": "hr", "czech": "cs", "esperanto": "eo", "estonian": "et", "finnish": "fi", "galician": "gl",
    "greek": "el", "gujarati": "gu", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "indonesian": "id", "irish": "ga",
    "japanese": "ja", "kurdish": "ku", "latin": "la", "latvian": "lv", "lithuanian": "lt", "malay": "ms", "marathi": "mr",
    "persian": "fa", "polish": "pl", "romanian": "ro", "sesotho": "st", "slovak": "sk", "slovenian": "sl", "somali": "so",
    "swahili": "sw", "tagalog": "tl", "thai": "th", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi", "yoruba": "yo", "zulu": "zu",
}  # fmt: skip
SAMPLE = 1_000  # texts that tell the scripts of a collection
_MANY = 0.2  # of the letters: so many of a script are no few foreign names


def analysed_as(retriever: BM25) -> str:
    """Return how texts become words, as studies write it: what names an index's shards, and what messages show."""
    return f"words: {retriever.words}, stemmer: {retriever.stemmer}, stopwords: {retriever.stopwords}"


def splitter(retriever: BM25) -> Split:
    r"""Return what cuts a text into words of lower case, repeats included, before stop words go and the rest is stemmed.

    - ``words``: runs of at least two letters, digits and underscores (``\w\w+``), as bm25s takes them. With a stemmer or stop words of
      another language than English, of texts in Unicode's composed form (NFC), and with the marks that combine with letters, such as the
      vowel signs of Hindi or Tamil, which ``\w`` has none of.
    - ``character_pairs``: runs of the scripts that are written without spaces (and Hangul) become all pairs of neighbouring characters, a
      character that stands alone itself, each with the marks that combine with it; what else there is stays words. Texts are in Unicode's
      compatibility form (NFKC), so that full-width and half-width characters are one. Source: Lucene's CJKAnalyzer (CJKWidthFilter,
      CJKBigramFilter), which leaves out Thai, Lao, Myanmar and Khmer.

    Args:
        retriever: :class:`rd_utils.study.params.BM25`.

    >>> from rd_utils.study.params import BM25
    >>> splitter(BM25())("Zwei Hüte, a 3.14")
    ['zwei', 'hüte', '14']
    >>> splitter(BM25(words="character_pairs"))("我爱Python，猫")
    ['我爱', 'python', '猫']
    >>> splitter(BM25(words="character_pairs"))("猫在垫子上")
    ['猫在', '在垫', '垫子', '子上']
    """
    if retriever.words == "character_pairs":
        return _pairs
    if {retriever.stemmer, retriever.stopwords} <= {"english", "none"}:
        return lambda text: _WORD.findall(text.lower())
    return lambda text: _marked().findall(unicodedata.normalize("NFC", text).lower())


def prepared(texts: list[str], retriever: BM25) -> list[str]:
    """Return texts whose ASCII characters have the lower case that others have: Turkish tells I (ı) from İ (i)."""
    return [text.translate(_TURKISH) for text in texts] if retriever.stemmer == "turkish" else texts


def stem(words: Sequence[str], stemmer: str) -> Sequence[str]:
    """Return the stem of every word, by a Snowball algorithm of PyStemmer.

    >>> stem(["häuser", "hauses"], "german")
    ['haus', 'haus']
    """
    if stemmer == "none":
        return words
    import Stemmer

    return Stemmer.Stemmer(stemmer, 0).stemWords(words)  # words are unique: a cache would only cost


def stop_words(retriever: BM25) -> list[str]:
    """Return the sorted stop words of a retriever's language, those that are one word to its splitter.

    They are bm25s's lists, and where it has none those of stopwordsiso. Chinese entries of three and more characters are no word among
    pairs, and so no stop word.
    """
    name = retriever.stopwords
    if name == "none":
        return []
    if name in _OF_BM25S:
        from bm25s import stopwords

        listed: Iterable[str] = getattr(stopwords, f"STOPWORDS_{_OF_BM25S[name]}")
    else:
        import stopwordsiso

        listed = stopwordsiso.stopwords(_OF_STOPWORDS_ISO[name])
    split = splitter(retriever)
    pieces = (split(word) for word in prepared(list(listed), retriever))
    return sorted({piece[0] for piece in pieces if len(piece) == 1})


@functools.cache
def _marks() -> str:
    """Return the characters that combine with the one before them (categories Mn, Mc and Me), for a class of a regular expression."""
    return "".join(chr(code) for code in range(0x300, sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M")


@functools.cache
def _marked() -> re.Pattern[str]:
    return re.compile(rf"\w[\w{_marks()}]+")


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds a run of paired characters (a group) or another word, and what finds a character of a run."""
    character = rf"(?=[{_PAIRED}])\w[{_marks()}]*"
    return re.compile(rf"((?:{character})+)|(?![{_PAIRED}])\w(?:(?![{_PAIRED}])\w|[{_marks()}])+"), re.compile(character)


def _pairs(text: str) -> list[str]:
    piece, character = _patterns()
    found: list[str] = []
    for match in piece.finditer(unicodedata.normalize("NFKC", text).lower()):
        characters = character.findall(match[0]) if match[1] else [match[0]]
        found += characters if len(characters) == 1 else map("".join, zip(characters[:-1], characters[1:], strict=True))
    return found


# --- does an analysis fit its texts? ----------------------------------------------------------------------------------------------


def scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each script among the letters of texts, the largest first.

    A script is called by the first word of its letters' names in Unicode: LATIN, CJK, ARABIC.

    >>> scripts(["Kaffee", "кофе"])
    {'LATIN': 0.6, 'CYRILLIC': 0.4}
    """
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text)
    counted: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            counted[unicodedata.name(letter, "OTHER").split()[0].partition("-")[0]] += count
    return {script: count / counted.total() for script, count in counted.most_common()}


def stemmers_of(script: str) -> tuple[str, ...]:
    """Return the stemmers of the languages that are written in a script.

    >>> stemmers_of("ARABIC")
    ('arabic', 'persian')
    """
    return _LANGUAGES_OF.get(script, tuple(name for name in STEMMERS if name not in _NOT_LATIN))


def misfit(retriever: BM25, texts: Iterable[str]) -> str:
    """Say why an analysis does not fit texts, and which does; nothing where their scripts give no reason to doubt it.

    >>> from rd_utils.study.params import BM25
    >>> misfit(BM25(), ["猫在垫子上"])
    "100 % of the letters are CJK, and words: words cuts at spaces and marks only; set the retriever's words: character_pairs"
    >>> misfit(BM25(), ["Καλημέρα"])
    "100 % of the letters are GREEK, which stemmer: english does not stem; set the retriever's stemmer: greek, and its stopwords"
    >>> misfit(BM25(stemmer="german"), ["Hallo Welt"])
    ''
    """
    shares = scripts(texts)
    paired = {script: shares[script] for script in shares if script in _PAIRED_SCRIPTS}
    if retriever.words == "words" and sum(paired.values()) >= _MANY:
        return (
            f"{100 * sum(paired.values()):.0f} % of the letters are {', '.join(paired)}, and words: words cuts at spaces and marks only; "
            "set the retriever's words: character_pairs"
        )
    script, share = next(iter(shares.items()), ("LATIN", 1.0))
    fitting = () if script in paired else stemmers_of(script)
    if share < 0.5 or script not in _LANGUAGES_OF and script != "LATIN" or retriever.stemmer in (*fitting, "none"):
        return ""
    choices = " or ".join(fitting) if script in _LANGUAGES_OF else "that of the language"
    return (
        f"{100 * share:.0f} % of the letters are {script}, which stemmer: {retriever.stemmer} does not stem; set the retriever's stemmer: "
        f"{choices}, and its stopwords"
    )


_NOT_LATIN = {name for names in _LANGUAGES_OF.values() for name in names} - {"serbian"}  # Serbian is written in both
