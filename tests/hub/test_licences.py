"""The licence gate: whose audio may be public, and under which licence data and models go out."""

import pytest
import soundfile as sf
import yaml

from hf_ser.corpora import CORPORA
from hf_ser.data import PrepareArguments, prepare
from hf_ser.hub.licences import TERMS, LicenceError, check_audio, data_licence, model_licence
from hf_ser.hub.push_plan import PushArguments, make_plan


def test_every_corpus_has_its_terms():
    assert TERMS.keys() == CORPORA.keys()
    by_text = {"CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0", "ODbL 1.0": "odbl", "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0"}
    assert {name: terms.hub for name, terms in TERMS.items()} == {
        name: by_text.get(corpus.licence) for name, corpus in CORPORA.items()
    }


@pytest.mark.parametrize("corpora", [["ravdess"], ["crema_d"], ["crema_d", "ravdess"], []])
def test_open_corpora_may_be_public(corpora):
    assert check_audio(corpora, private=False) == []


@pytest.mark.parametrize(
    "corpora",
    [["tess"], ["savee"], ["ravdess", "tess"], ["crema_d", "savee"], ["emodb"], ["iemocap"], ["calls"]],
)
def test_closed_and_unknown_corpora_may_not(corpora):
    with pytest.raises(LicenceError, match="--private false would publish audio of .*--metadata_only true") as caught:
        check_audio(corpora, private=False)
    assert (CORPORA[corpora[-1]].title if corpora[-1] in CORPORA else "calls (unknown licence)") in str(caught.value)
    assert "RAVDESS" not in str(caught.value) and "CREMA-D" not in str(caught.value)


def test_one_s_own_recordings_may_be_public_under_a_licence():
    assert check_audio(["calls", "ravdess"], private=False, own="cc-by-4.0") == []
    assert check_audio(["calls"], private=True) == []
    with pytest.raises(LicenceError, match=r"audio of calls \(unknown licence\).*--licence cc-by-4.0"):
        check_audio(["calls"], private=False, own="unknown")
    with pytest.raises(LicenceError, match="audio of TESS") as caught:  # the licence is not one of TESS
        check_audio(["calls", "tess"], private=False, own="cc-by-4.0")
    assert "calls" not in str(caught.value) and "--licence" not in str(caught.value)


def test_private_pushes_of_savee_are_warned_about():
    assert check_audio(["ravdess", "tess", "crema_d"], private=True) == []
    (note,) = check_audio(["savee", "tess"], private=True)
    assert "SAVEE's agreement forbids redistribution" in note
    (note,) = check_audio(["iemocap", "emodb"], private=True)
    assert "IEMOCAP's agreement forbids redistribution" in note and "registered for IEMOCAP" in note


def test_data_go_out_under_the_licences_of_what_they_hold():
    assert data_licence(["ravdess"]) == {"license": "cc-by-nc-sa-4.0"}
    assert data_licence(["ravdess", "crema_d"]) == {"license": ["cc-by-nc-sa-4.0", "odbl"]}
    other = {"license": "other", "license_name": "see-each-corpus"}
    assert data_licence(["ravdess", "savee"]) == data_licence(["iemocap"]) == data_licence([]) == other
    assert data_licence(["calls"]) == data_licence(["calls", "emodb"], "cc-by-4.0") == other
    assert data_licence(["calls"], "our own terms") == other
    assert data_licence(["calls", "more"], "CC-BY-4.0") == {"license": "cc-by-4.0"}
    assert data_licence(["calls", "crema_d"], "cc0-1.0") == {"license": ["cc0-1.0", "odbl"]}
    assert data_licence(["calls", "crema_d"], "odbl") == {"license": "odbl"}


@pytest.mark.parametrize(
    ("corpora", "synthetic", "licence"),
    [
        (["crema_d"], [], "odbl"),
        (["crema_d", "ravdess"], [], "cc-by-nc-sa-4.0"),
        (["ravdess"], [], "cc-by-nc-sa-4.0"),
        (["ravdess", "tess"], [], "see-the-corpora"),
        (["savee"], [], "see-the-corpora"),
        (["iemocap"], [], "see-the-corpora"),
        ([], [], "see-the-corpora"),
        (["ravdess", "tess"], ["tess"], "cc-by-nc-sa-4.0"),
        (["ravdess", "tess"], ["tess", "ravdess"], "trained-on-synthetic-recordings"),
    ],
)
def test_models_go_out_under_the_strictest_licence(corpora, synthetic, licence):
    fields = model_licence(corpora, synthetic)
    assert licence in fields.values()
    assert (fields["license"] == "other") == ("license_name" in fields)


@pytest.mark.parametrize(
    ("corpora", "own", "licence"),
    [
        (["calls"], "unknown", "see-the-corpora"),
        (["calls"], "cc-by-nc-4.0", "cc-by-nc-4.0"),
        (["calls"], "cc-by-nc-nd-4.0", "see-the-corpora"),
        (["calls"], "our own terms", "see-the-corpora"),
        (["calls", "ravdess"], "unknown", "see-the-corpora"),
        (["calls", "ravdess"], "cc-by-4.0", "cc-by-nc-sa-4.0"),
        (["calls", "ravdess"], "cc-by-sa-4.0", "see-the-corpora"),
        (["calls", "emodb"], "cc-by-4.0", "see-the-corpora"),
        (["ravdess"], "cc-by-4.0", "cc-by-nc-sa-4.0"),
    ],
)
def test_models_of_one_s_own_recordings(corpora, own, licence):
    fields = model_licence(corpora, own=own)
    assert licence in fields.values()
    assert (fields["license"] == "other") == ("license_name" in fields)


@pytest.mark.parametrize("licence", ["unknown", "cc-by-4.0"])
def test_a_prepared_dataset_goes_out_under_its_licence(licence, tone, tmp_path):
    rows = ["path,label,speaker"]
    for number in range(12):
        sf.write(tmp_path / f"{number}.wav", tone(0.5 + number / 100), 16_000)
        rows.append(f"{number}.wav,{('yes', 'no')[number % 2]},{number % 3}")
    (tmp_path / "calls.csv").write_text("\n".join(rows))
    arguments = PrepareArguments(
        str(tmp_path / "out"), csv=[str(tmp_path / "calls.csv")], labels=["yes", "no"], licence=licence, num_proc=1
    )
    prepare(arguments, progress=False)
    push = {"repository": "owner/calls", "folder": str(tmp_path / "out"), "private": False}
    if licence == "unknown":
        with pytest.raises(LicenceError, match=r"publish audio of calls \(unknown licence\)"):
            make_plan(PushArguments(**push))
        assert (
            yaml.safe_load(make_plan(PushArguments(**push, metadata_only=True)).card.split("---")[1])["license"]
            == "other"
        )
    else:
        card = make_plan(PushArguments(**push)).card
        assert yaml.safe_load(card.split("---")[1])["license"] == "cc-by-4.0"
