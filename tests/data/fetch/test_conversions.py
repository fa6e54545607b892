"""Converted files: by hand for invented rows, byte for byte for the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ethosteer.data.fetch.conversions import WSC273_SCHEMAS, ethics_aita, wsc273
from ethosteer.errors import InputError

SCHEMA = """
<schema><text><txt1>
Nora lent
 Ada a pen.</txt1><pron> She </pron><txt2> had forgotten one.
</txt2></text>
<quote><quote1></quote1><pron>She </pron><quote2>had forgotten one</quote2></quote>
<answers><answer>Nora </answer><answer> Ada</answer></answers>
<correctAnswer> B. </correctAnswer><source> (Invented) </source></schema>
"""


def collection(schemas: int) -> str:
    return f'<?xml version="1.0" encoding="ISO-8859-1"?><collection>{SCHEMA * schemas}</collection>'


def test_a_schema_is_converted(tmp_path: Path):
    path = tmp_path / "c.xml"
    path.write_text(collection(WSC273_SCHEMAS + 12))
    rows = [json.loads(line) for line in wsc273(path).splitlines()]
    assert len(rows) == 273
    assert rows[0] == {
        "text": "Nora lent Ada a pen. She had forgotten one.",
        "pronoun": "She",
        "pronoun_loc": 21,
        "quote": "She had forgotten one",
        "quote_loc": 21,
        "options": ["Nora", "Ada"],
        "label": 1,
        "source": "(Invented)",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (collection(272), "has 272 schemas where 273 are expected"),
        ("<collection><schema/></collection>", "lacks its text"),
        (collection(273).replace(" B. ", "C"), "not the Winograd collection"),
        ("no xml", "not the Winograd collection"),
    ],
)
def test_another_file_than_the_collection_is_refused(text: str, words: str, tmp_path: Path):
    path = tmp_path / "c.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        wsc273(path)


def test_long_posts_get_the_schema_of_scruples(tmp_path: Path):
    path = tmp_path / "cm_test.csv"
    path.write_bytes(
        b"label,input,is_short,edited\n"
        b"0,I watered the plants.,True,False\n"
        b'1,"AITA for \xe2\x80\x9cborrowing\xe2\x80\x9d a boat? | It was\r\nred. | I sank it.",'
        b"False,False\n"
        b"0,WIBTA |no title ends here,False,False\n"
    )
    rows = [json.loads(line) for line in ethics_aita(path).splitlines()]
    assert [row["id"] for row in rows] == ["ethics-cm-test-0", "ethics-cm-test-1"]
    assert rows[0]["title"] == "AITA for “borrowing” a boat?"
    assert rows[0]["text"] == "It was\r\nred. | I sank it."
    assert [row["binarized_label"] for row in rows] == ["WRONG", "RIGHT"]
    assert (rows[1]["title"], rows[1]["text"]) == ("WIBTA |no title ends here", "")
    assert rows[0]["label_scores"] is None


@pytest.mark.parametrize(
    "text",
    [
        "label,input,is_short\n1,short,True\n",
        "label,input,is_short\n2,A | B,False\n",
        "label,is_short\n1,False\n",
    ],
)
def test_another_file_than_commonsense_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "cm_test.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="not ETHICS commonsense"):
        ethics_aita(path)


def test_published_files_are_converted_byte_for_byte(real_data: Path):
    converted = wsc273(real_data / "winograd" / "WSCollection.xml")
    assert converted.encode() == (real_data / "winograd" / "wsc273.jsonl").read_bytes()
    converted = ethics_aita(real_data / "ethics" / "commonsense" / "cm_test.csv")
    expected = real_data / "ethics-aita" / "test.scruples-anecdotes.jsonl"
    assert converted.encode() == expected.read_bytes()
