"""What is wrong with a cohort, collected so that all of it can be shown at once."""

from dataclasses import dataclass

from sparra.errors import UserError, sentence


@dataclass(frozen=True)
class Problem:
    """One thing that a user has to mend.

    Attributes
    ----------
    what : str
        What is wrong.
    where : str
        File, and row where there is one.
    mend : str
        What to do about it.
    subject_id : str
        Subject that is affected, empty where the problem is not a subject's.
    excludes_subject : bool
        Whether the subject cannot be used at all; else only the image named in `where` is left out.
    stage : str
        Stage that found it.
    """

    what: str
    where: str
    mend: str
    subject_id: str = ""
    excludes_subject: bool = False
    stage: str = "check"

    def __str__(self) -> str:
        who = f" (subject {self.subject_id})" if self.subject_id else ""
        return f"{self.where}{who}: {sentence(self.what)} {sentence(self.mend)}"

    def as_row(self) -> dict[str, str]:
        """Return the columns of ``failures.csv``."""
        return {
            "subject_id": self.subject_id,
            "stage": self.stage,
            "where": self.where,
            "what": self.what,
            "mend": self.mend,
        }


def problem_of(error: UserError, stage: str, subject_id: str, where: str) -> Problem:
    """Record a `UserError` raised while working on one subject's file."""
    place = error.where or where
    return Problem(error.what, place, error.mend or "Mend or remove the file", subject_id, stage=stage)
