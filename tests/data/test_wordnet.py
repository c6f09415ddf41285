"""Words from WordNet's own files, from lists of its lexicographer files, and from a text file."""

from __future__ import annotations

import pytest

from simnl.data import wordnet
from simnl.data.wordnet import read_words

# Entries as WordNet 3.0 has them: offset, file, type, number of words (hex), words, pointers, gloss.
NOUNS = """  1 This software and database is being provided to you, the LICENSEE, by
00001740 03 n 01 entity 0 001 ~ 02444819 n 0000 | that which is perceived or known or inferred
02444819 05 n 02 otter 0 sea_otter 1 002 @ 00001740 n 0000 + 01140651 v 0101 | fish-eating mammal  \n\
07942152 18 n 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 otter 2 001 @ 00001740 n 0000 | eleven people
"""
ADJECTIVES = """00014358 00 s 02 galore(ip) 0 ample 0 001 & 00013887 a 0000 | in great numbers
00013887 01 a 01 Roman 0 002 & 00014358 s 0000 \\ 08800676 n 0101 | of Rome
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "data.adj").write_text(ADJECTIVES)
    return tmp_path


def test_the_data_base(folder):
    words = read_words(str(folder))
    assert words.of("noun") == [
        "entity", "otter", "sea_otter", *"abcdefghij"
    ]  # fmt: skip
    assert words.of("noun", ["noun.person", "noun.Tops"]) == ["otter", "sea_otter"]
    assert words.of("adj", ["adj.pert"]) == ["galore", "ample"]
    (folder / "data.adj").write_text(ADJECTIVES.replace("Roman", "Greek"))
    assert read_words(str(folder)).digest != words.digest


def test_where_nltk_has_it(folder, monkeypatch, tmp_path):
    place = tmp_path / "nltk" / "corpora" / "wordnet"
    place.mkdir(parents=True)
    for name in ("data.noun", "data.adj"):
        (place / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    assert read_words() == read_words(str(folder))


def test_lists_of_words(tmp_path):
    (tmp_path / "noun.plant.txt").write_text("oak\n\nelm\n")
    (tmp_path / "noun.animal.txt").write_text("otter\noak\n")
    (tmp_path / "adj.all.txt").write_text("ample\n")
    words = read_words(str(tmp_path))
    assert words.of("noun") == ["otter", "oak", "elm"]  # files by name
    assert words.of("adj") == ["ample"]
    assert read_words(str(tmp_path / "noun.plant.txt")).of("noun") == ["oak", "elm"]


def test_a_missing_or_empty_wordnet_is_one_plain_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=r"^WordNet was not found. Please set WORDNET to the folder of its files [^.]*"
    ):
        read_words()
    with pytest.raises(FileNotFoundError, match="WORDNET: .*nowhere does not exist"):
        read_words(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="there are no words in"):
        read_words(str(tmp_path))
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_words(str(tmp_path / "words.txt"))


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("noun", lambda text: text[: text.index("02444819 05")], "refers to 1 entries that are not in it"),
        ("noun", lambda text: text[: text.index("@ 00001740 n 0000 | eleven")], "line 4 of .*data.noun is no entry"),
        ("noun", lambda text: text.replace("n 0b", "n 0z"), "line 4 of .*data.noun is no entry"),
        ("adj", lambda text: text.replace("s 02", "s 20"), "line 1 of .*data.adj is no entry"),
        ("adj", lambda text: NOUNS, "line 2 of .*data.adj is no entry"),
        ("adj", lambda text: None, "data.adj is missing beside"),
        ("noun", lambda text: None, "data.noun is missing beside"),
    ],
)
def test_a_damaged_data_base_is_told(folder, kind, change, told):
    path = folder / f"data.{kind}"
    text = change(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(
        (FileNotFoundError, ValueError), match=rf"^WORDNET: .*{told}.* text file with one word in a line"
    ):
        read_words(str(folder))
