from sparra.errors import UserError


def test_one_sentence_holds_where_what_and_mend() -> None:
    error = UserError("the mask is empty", "ct/A.nii.gz", "Draw it again.")
    assert str(error) == "ct/A.nii.gz: the mask is empty. Draw it again."
    assert str(UserError("no tissue")) == "no tissue."


def test_a_question_ends_with_its_mark_alone() -> None:
    error = UserError("there is no encoder called 'lokal'", "study.yaml", "Did you mean 'local'?")
    assert str(error) == "study.yaml: there is no encoder called 'lokal'. Did you mean 'local'?"
    assert str(UserError("it is broken.", mend="Mend it.")) == "it is broken. Mend it."
