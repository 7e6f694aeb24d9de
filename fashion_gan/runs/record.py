"""run.json: what a run is, and how far it is."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from fashion_gan.config.params import BEFORE, current_names
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, short_reason
from fashion_gan.text import plain_text

SCHEMA, MOST_BYTES = 1, 5_000_000
# no path: a folder that others made could otherwise name code of its own to be executed
NotebookName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
Text = Annotated[str, AfterValidator(plain_text)]  # it is printed on terminals
TagName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./ -]{1,250}$")]  # what MLflow allows
# seconds since 1970, no later than a calendar goes
Moment = Annotated[float, Field(ge=0, lt=10**11, allow_inf_nan=False)]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED", "SCRATCH"]


class DataInfo(BaseModel):
    """What the images of a run are."""

    model_config = ConfigDict(extra="allow")

    name: Text
    shape: tuple[int, int, int]  # channels, height, width
    classes: list[Text]


class Rows(BaseModel):
    """How many images of a data set a run reads, and which."""

    num_rows: int
    rows: Text


class Fingerprint(BaseModel):
    """A data set that a run reads, as MLflow keeps it."""

    model_config = ConfigDict(extra="allow")

    name: Text
    context: Text
    digest: Text
    source: Text
    profile: Rows


def _fingerprint(values: dict[str, Any]) -> dict[str, Any]:
    return Fingerprint.model_validate(values).model_dump()


# what a version that knew no other set has not written
FASHION_MNIST = DataInfo(name="Fashion-MNIST", shape=(1, 28, 28), classes=[""] * 10)


class RunInfo(BaseModel):
    """The fields of run.json. What an older version did not write has its default; what a newer one
    writes besides is kept."""

    model_config = ConfigDict(extra="allow", validate_by_name=True, serialize_by_alias=True)

    schema_version: int = Field(SCHEMA, alias="schema", le=SCHEMA)
    name: Text
    uuid: str = Field("", pattern="^[A-Za-z0-9-]*$")  # it is part of MLflow's queries
    profile: Text = ""
    notebooks: list[NotebookName] = []
    params: dict[str, Any] = {}
    status: Status
    reason: Text = ""
    created: Moment = 0.0
    ended: Moment | None = None
    followed: Moment = 0.0  # when its copier was started last
    attempts: int = 1
    done: list[NotebookName] = []
    epochs_done: int | None = None
    images_seen: int | None = None
    host: Text = ""
    tags: dict[TagName, Text] = {}
    datasets: list[Annotated[dict[str, Any], AfterValidator(_fingerprint)]] = []
    data: DataInfo = FASHION_MNIST

    @field_validator("params")
    @classmethod
    def _by_current_names(cls, params: dict[str, Any]) -> dict[str, Any]:
        return BEFORE | current_names(params) if params else params

    @classmethod
    def read(cls, path: Path) -> "RunInfo":
        """Raises UserError where the file is damaged, FileNotFoundError where there is none."""
        try:
            check_file(path, MOST_BYTES)
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise
        except (ValueError, UserError, OSError) as error:
            raise UserError(
                f"{path} is damaged ({short_reason(error)}); bring it back, or move"
                f" the folder {path.parent.name} out of reports/"
            ) from None

    def json_dict(self) -> dict[str, Any]:
        """What run.json holds: the fields that were set."""
        return self.model_dump(exclude_unset=True)
