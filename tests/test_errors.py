from sparra.errors import UserError


def test_one_sentence_holds_where_what_and_mend() -> None:
    error = UserError("the mask is empty", "ct/A.nii.gz", "Draw it again.")
    assert str(error) == "ct/A.nii.gz: the mask is empty. Draw it again."
    assert str(UserError("no tissue")) == "no tissue."
