"""The licence gate: whose audio may be public, and under which licence data and models go out."""

import pytest

from hf_ser.corpora import CORPORA
from hf_ser.hub.licences import TERMS, LicenceError, check_audio, data_licence, model_licence


def test_every_corpus_has_its_terms():
    assert TERMS.keys() == CORPORA.keys()
    by_text = {"CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0", "ODbL 1.0": "odbl", "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0"}
    assert {name: terms.hub for name, terms in TERMS.items()} == {
        name: by_text.get(corpus.licence) for name, corpus in CORPORA.items()
    }


@pytest.mark.parametrize("corpora", [["ravdess"], ["crema_d"], ["crema_d", "ravdess"], []])
def test_open_corpora_may_be_public(corpora):
    assert check_audio(corpora, private=False) == []


@pytest.mark.parametrize("corpora", [["tess"], ["savee"], ["ravdess", "tess"], ["crema_d", "savee"], ["iemocap"]])
def test_closed_and_unknown_corpora_may_not(corpora):
    with pytest.raises(LicenceError, match="--private false would publish audio of .*--metadata_only true") as caught:
        check_audio(corpora, private=False)
    assert (CORPORA[corpora[-1]].title if corpora[-1] in CORPORA else "iemocap (unknown licence") in str(caught.value)
    assert "RAVDESS" not in str(caught.value) and "CREMA-D" not in str(caught.value)


def test_private_pushes_of_savee_are_warned_about():
    assert check_audio(["ravdess", "tess", "crema_d"], private=True) == []
    (note,) = check_audio(["savee", "tess"], private=True)
    assert "SAVEE's agreement forbids redistribution" in note


def test_data_go_out_under_the_licences_of_what_they_hold():
    assert data_licence(["ravdess"]) == {"license": "cc-by-nc-sa-4.0"}
    assert data_licence(["ravdess", "crema_d"]) == {"license": ["cc-by-nc-sa-4.0", "odbl"]}
    other = {"license": "other", "license_name": "see-each-corpus"}
    assert data_licence(["ravdess", "savee"]) == data_licence(["iemocap"]) == data_licence([]) == other


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
