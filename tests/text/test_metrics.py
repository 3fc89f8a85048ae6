"""Scores of corpora."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from pellucid.base.errors import DataError
from pellucid.text.metrics import bleu, chrf, not_plain

SENTENCES = ["J'aime l'apprentissage automatique.", "La voiture rouge est devant la maison.", "Où vas-tu, mon ami ?"]


@pytest.mark.parametrize("lowercase", [False, True])
def test_a_text_scores_100_against_itself(lowercase: bool) -> None:
    assert bleu(SENTENCES, SENTENCES, lowercase=lowercase).score == 100
    assert chrf(SENTENCES, SENTENCES, lowercase=lowercase).score == 100


def test_bleu_by_hand() -> None:
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples match; lengths are equal: (4/5 3/4 2/3 1/2) ^ 1/4
    assert bleu(["a b c d e"], ["a b c d f"]).score == pytest.approx(100 * 0.2**0.25, rel=1e-12)


def test_bleu_penalises_brevity() -> None:
    # everything matches, 4 words for 5: exp(1 - 5/4)
    assert bleu(["a b c d"], ["a b c d e"]).score == pytest.approx(100 * math.exp(-0.25), rel=1e-12)


def test_bleu_is_of_the_corpus_not_a_mean_of_sentences() -> None:
    # 4 + 1 of 8 words, 3 of 6 pairs, 2 of 4 triples, 1 of 2 quadruples
    expected = 100 * (5 / 8 * 3 / 6 * 2 / 4 * 1 / 2) ** 0.25
    assert bleu(["a b c d", "a x y z"], ["a b c d", "a b c d"]).score == pytest.approx(expected, rel=1e-12)


def test_chrf_by_hand() -> None:
    # single characters: precision 2/2, recall 2/3; pairs: 1/1, 1/2; no longer ones. F2 = 5 p r / (4 p + r) of the means 1, 7/12
    assert chrf(["ab"], ["abc"]).score == pytest.approx(100 * 35 / 55, rel=1e-12)


def test_case_counts_unless_lowercase() -> None:
    assert bleu(["A B C D"], ["a b c d"]).score == 0
    assert bleu(["A B C D"], ["a b c d"], lowercase=True).score == 100
    assert chrf(["A B C D"], ["a b c d"]).score == 0
    assert chrf(["A B C D"], ["a b c d"], lowercase=True).score == 100


def test_signatures_say_what_was_asked_for() -> None:
    from sacrebleu import __version__

    assert bleu(["a"], ["a"]).signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{__version__}"
    folded = bleu(["a"], ["a"], lowercase=True, tokenize="none").signature
    assert folded == f"nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:{__version__}"
    assert chrf(["a"], ["a"]).signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{__version__}"


def test_tokenize_none_leaves_punctuation_at_the_word() -> None:
    hypothesis, reference = ["a b c d."], ["a b c d ."]
    assert bleu(hypothesis, reference).score == 100  # 13a splits the full stop off
    assert bleu(hypothesis, reference, tokenize="none").score < 100


def test_empty_sentences_are_scored() -> None:
    assert bleu([""], ["a b"]).score == 0
    assert chrf([""], ["a b"]).score == 0


@pytest.mark.parametrize("metric", [bleu, chrf])
@pytest.mark.parametrize(("hypotheses", "references"), [([], []), (["a", "b"], ["a"]), (["a"], ["a", "b"])])
def test_what_does_not_pair_up_is_refused(metric: object, hypotheses: list[str], references: list[str]) -> None:
    with pytest.raises(DataError):
        metric(hypotheses, references)  # type: ignore[operator]


def test_subword_marks_are_noticed() -> None:
    assert not_plain(SENTENCES) is None
    message = not_plain(["a house", "a fi@@ ne house"])
    assert message is not None
    assert message.startswith("hypothesis 2 holds the subword mark '@@'")
    assert not_plain(["▁a▁house"]) is not None


def test_tokenised_text_is_noticed() -> None:
    assert not_plain(["a house .", "a dog .", "no"]) is not None
    assert not_plain(["a house .", "a dog."]) is None


def test_sacrebleu_writes_nothing_on_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bleu(["a house ."] * 100, ["a house ."] * 100)
    assert not caplog.records


def test_sacrebleu_is_imported_only_to_score() -> None:
    code = "import sys, pellucid.text.metrics; sys.exit('sacrebleu' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
